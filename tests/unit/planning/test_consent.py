"""Who wants no mail is told by what columns are called, as tools export them, and counted once."""

from collections import Counter

import pytest

from backfill.pipeline.column_settings import is_consent
from backfill.pipeline.file import Pipeline
from backfill.pipeline.source_settings import CustomersSource
from backfill.planning.consent import ConsentColumn, consent_in, ordinary
from backfill.planning.known_consent import KNOWN
from backfill.planning.plan import make_plan
from backfill.planning.warnings import warnings_of
from backfill.sources.inputs import open_inputs
from backfill.sources.layout import AttributeNames
from tests.support.jobs import job

NOW_S = 1_750_000_000
TOPIC = "cio_subscription_preferences.topics.topic_3"

OPT_OUT = [
    *("Unsubscribed from all email", "Opted out of email: Marketing Information"),  # HubSpot
    *("Email Opt Out", "HasOptedOutOfEmail", "DoNotCall", "donotbulkemail"),  # CRMs of Salesforce …
    *("Do not allow Bulk Emails", "Email Suppressed", "EMAIL_BLACKLIST", "Black Listed"),
    *("unsubscribed_from_emails", "unsubscribedChannelIds", "UNSUB_TIME", "Unsubscribed Date"),
    *("Marketing Suspended", "do-not-mail", "optout", "opt_out", "Désinscrit", "Werbesperre"),
    *("suppressed", "DNC", "is_suppressed", "do_not_email", "dontemail", "Don't Email"),
    *("hard_bounced", "IsEmailBounced", "email_hard_bounced", "bounced", "is_bounced"),
    *("Kein Newsletter", "Keine Werbung", "Newsletter abbestellt", "nicht kontaktieren"),
    *("pas de newsletter", "sin newsletter", "not_subscribed", "never opted in", "no_consent"),
    *("does_not_want_newsletter", "Doesn't want marketing emails", "don't want emails"),
    *("consent_withdrawn_at", "marketing consent declined", "Einwilligung widerrufen"),
    *("no_newsletter", "no_marketing", "email_marked_as_spam", "spam_complaint", "complained"),
]
OPT_IN = [
    *("Accepts Email Marketing", "Accepts SMS Marketing", "accepts_marketing"),  # Shopify
    *("Email Marketing Consent", "$consent", "email_subscribe", "is_subscribed"),  # Klaviyo, Braze
    *("DOUBLE_OPT-IN", "opt_in", "newsletter", "Newsletter Signup", "marketing_permission"),
    *("Email subscriber status", "gdpr_consent", "Legal basis for processing contact's data"),
    *("receive_marketing_emails", "Werbeeinwilligung"),
    *(
        "mail_ok",
        "email_ok",
        "marketing_ok",
        "sms_ok",
        "OK to Email",
        "ok_to_contact",
        "doubleoptin",
    ),
    *("GDPR", "gdpr_ok", "GDPR status", "dsgvo", "DSGVO Einwilligung", "accept_emails", "optin"),
    *("agree_marketing", "permission_to_email", "email_enabled", "promo_emails", "Werbung erlaubt"),
    *("marketing_consent", "hs_legal_basis", "acceptsMarketing", "Marketing emails"),
    *("can_email", "may_be_contacted", "emailable", "email_allowed", "agreed_to_marketing_emails"),
]


@pytest.mark.parametrize("known", KNOWN, ids=lambda each: f"{each.tool}: {each.name}")
def test_the_columns_of_known_tools_are_told(known):
    """What each means, and where it is known from."""
    assert consent_in(known.name) == known.means
    assert known.source


def test_each_known_column_stands_once_for_its_tool():
    """The table names the tools that people come from."""
    assert max(Counter((each.tool, each.name) for each in KNOWN).values()) == 1
    assert {"Mailchimp", "Klaviyo", "HubSpot", "Shopify", "Braze", "Iterable"} <= {
        each.tool for each in KNOWN
    }


@pytest.mark.parametrize("name", OPT_OUT)
def test_what_says_that_nobody_wants_mail_is_told(name):
    """In the forms that exports use."""
    means = consent_in(name)
    assert means is not None
    assert means.yes == "out"


@pytest.mark.parametrize("name", OPT_IN)
def test_what_says_that_somebody_wants_mail_is_told(name):
    """Which is the opposite of what the service acts on."""
    means = consent_in(name)
    assert means is not None
    assert means.yes == "in"


@pytest.mark.parametrize(
    "name",
    [
        *("note", "email", "status", "mail_box", "option", "block", "plan", "phone", "wishlist"),
        *("subscription_status", "permission_level", "OPTIN_TIME", "newsletter_opened_at", "clean"),
        *("UNSUB_REASON", "$consent_method", "consent_url", "email_opt_in_ip", "country", "notes"),
        *("options", "mailbox", "gdpr_region", "gdpr_country", "gdpr_deleted_at", "GDPR request"),
        *("subscribed_plan", "newsletter_count", "consent_version", "no_emails_sent", "ok_count"),
        *("stock_ok", "order_ok", "bookmark_ok", "payment_ok", "bounce_rate", "bounces", "adopted"),
        *("Marketing emails bounced", "Marketing emails opened", "hard_bounce_reason", "co_opted"),
        *("marketing_channel", "complaints", "spam_score", "do_not_translate", "accepted_terms"),
        *("enabled", "feature_enabled", "marketing_opt_in_level", "mailing_address", "cancelled"),
        *("optical_plan", "laptop", "adopt_in_year", "contact_owner", "permissions", "is_ok"),
        *("suppression_list_name", "canada", "may_total", "agreement", "email_enabled_at", "dncx"),
        *(
            "kein_lager",
            "nicht_geliefert",
            "non_profit",
            "not_paid",
            "order_declined",
            "keine_angabe",
        ),
    ],
)
def test_other_columns_say_nothing_of_consent(name):
    """However near their names are: a guard that cries wolf is switched off."""
    assert consent_in(name) is None


def test_the_channel_is_told():
    """E-mail and everything are one: `unsubscribed` is about all."""
    assert consent_in("SMS opt-in") == ConsentColumn("in", "sms")
    assert consent_in("push_opt_out") == ConsentColumn("out", "push")
    assert consent_in("Do Not Call") == ConsentColumn("out", "phone")


def source(**more):
    """Customers with these settings."""
    return CustomersSource.model_validate(
        {"kind": "customers", "files": ["f"], "identifier": {"id": "id"}, **more}
    )


@pytest.mark.parametrize(
    ("columns", "names", "found"),
    [
        ({}, ["opt_out", "plan"], ["opt_out"]),
        ({}, ["unsubscribed", TOPIC], []),
        ({"agreed": {"from": "opt_in"}}, ["agreed"], ["opt_in"]),
        ({"no_mail": {"from": "x"}}, ["no_mail"], ["x"]),
        ({"unsubscribed": {"from": "opt_out"}}, ["unsubscribed"], []),
        ({"unsubscribed": {"from": "opt_out"}, "opt_out": "boolean"}, ["opt_out"], []),
        ({"unsubscribed": {"from": "opt_out"}}, ["unsubscribed", "newsletter"], ["newsletter"]),
        ({}, ["do_not_call", "fax_opt_out"], []),
        ({}, ["cio_subscription_preferences"], ["cio_subscription_preferences"]),
        ({"cio_subscription_preferences": "json"}, ["cio_subscription_preferences"], []),
        ({"cio_subscription_preferences": {"from": "x"}}, ["cio_subscription_preferences"], []),
    ],
)
def test_what_is_sent_as_an_ordinary_attribute_stops_no_mail(columns, names, found):
    """By the name of the column, or by that under which it is sent."""
    assert ordinary(source(columns=columns), AttributeNames(frozenset(names))) == found


def test_words_of_consent_in_a_status_are_told():
    """What a status holds is told by the judge."""
    names = AttributeNames(frozenset({"status"}), consent_words=frozenset({"status"}))
    assert ordinary(source(), names) == ["status"]


@pytest.mark.parametrize("name", ["unsubscribed", TOPIC, TOPIC.replace("s.topic_3", "s.topic_12")])
def test_consent_of_the_service_is_a_boolean_whatever_is_declared(name):
    """Any other value would unsubscribe nobody."""
    assert is_consent(name)
    for declared in ("string", {"from": "x"}, {"from": "x", "type": "string", "invert": True}):
        assert source(columns={name: declared}).declared()[name].type == "boolean"


PEOPLE = """id,out,topic,n
a,yes,no,1
b,no,no,1
a,no,,2
c,,yes,1
d,maybe,yes,1
"""
DECLARED = f"""[[source]]
kind = "customers"
files = ["customers.csv"]
identifier = {{ id = "id" }}
[source.columns]
unsubscribed = {{ from = "out", type = "boolean" }}
"{TOPIC}" = {{ from = "topic", type = "boolean" }}
"""


def planned(tmp_path, declared, text=PEOPLE):
    """The pipeline and its plan."""
    pipeline = Pipeline.load(job(tmp_path, {"customers.csv": text}, declared))
    return pipeline, make_plan(pipeline, open_inputs(pipeline), tmp_path / "plan", now_s=NOW_S)


def test_people_are_counted_once_with_what_is_sent_of_them(tmp_path):
    """A later row wins; a rejected row says nothing; an empty cell is not sent."""
    pipeline, plan = planned(tmp_path, DECLARED)
    assert plan.sources[0].consent == {
        "unsubscribed": {"true": 0, "false": 2},
        TOPIC: {"true": 1, "false": 2},
    }
    said = {each.code: each.what for each in warnings_of(pipeline, plan)}
    assert "(topics.topic_3), by column 'topic': 2 of 3" in said["unsubscribes"]


def test_wide_rows_are_counted_as_narrow_ones(tmp_path):
    """They are written as a whole."""
    wide = ",".join(f"c{n}" for n in range(80))
    rows = [f"{line},{wide}" for line in PEOPLE.splitlines()]
    _, plan = planned(tmp_path, DECLARED, "\n".join(rows) + "\n")
    assert plan.sources[0].consent["unsubscribed"] == {"true": 0, "false": 2}


def test_a_constant_is_what_every_row_says(tmp_path):
    """A list of those who want no mail has no column that says so."""
    declared = (
        DECLARED.partition("[source.columns]")[0] + "columns.unsubscribed = { value = true }\n"
    )
    pipeline, plan = planned(tmp_path, declared)
    assert plan.sources[0].consent == {"unsubscribed": {"true": 4}}
    (warned,) = (e.what for e in warnings_of(pipeline, plan) if e.code == "unsubscribes")
    assert "for every row: 4 of 4" in warned
