"""Columns of consent as known tools export them, each with where it is known from."""

from collections.abc import Iterator
from dataclasses import dataclass

from backfill.encoding.column_names import plain_name
from backfill.planning.consent import ConsentColumn


@dataclass(frozen=True, slots=True)
class KnownColumn:
    """A column of consent as a tool exports it.

    Args:
        tool: The tool.
        name: The column.
        means: What it says.
        source: Where it is known from.
    """

    tool: str
    name: str
    means: ConsentColumn
    source: str


_IN, _OUT = ConsentColumn("in"), ConsentColumn("out")


def _known(tool: str, source: str, **columns: ConsentColumn) -> Iterator[KnownColumn]:
    yield from (KnownColumn(tool, name, means, source) for name, means in columns.items())


KNOWN: tuple[KnownColumn, ...] = (
    *_known("Mailchimp", "export of unsubscribed contacts", UNSUB_TIME=_OUT),
    *_known("Mailchimp", "export of cleaned contacts", CLEAN_TIME=_OUT),
    *_known(
        "Klaviyo",
        "export of a segment; Profiles API",
        **{
            "Email Marketing Consent": _IN,
            "SMS Marketing Consent": ConsentColumn("in", "sms"),
            "Email Suppressions": _OUT,
            "$consent": _IN,
        },
    ),
    *_known(
        "HubSpot",
        "export of contacts; contact properties",
        **{
            "Unsubscribed from all email": _OUT,
            "hs_email_optout": _OUT,
            "hs_email_optout_8472": _OUT,
            "Opted out of email: Marketing Information": _OUT,
            "Legal basis for processing contact's data": _IN,
        },
    ),
    *_known(
        "Shopify",
        "customer CSV; Admin API, CustomerEmailMarketingState",
        **{
            "Accepts Email Marketing": _IN,
            "Accepts SMS Marketing": ConsentColumn("in", "sms"),
            "Accepts Marketing": _IN,
            "accepts_marketing": _IN,
            "email_marketing_consent": _IN,
            "sms_marketing_consent": ConsentColumn("in", "sms"),
        },
    ),
    *_known(
        "WooCommerce",
        "export of user meta: Mailchimp for WooCommerce, MailPoet",
        mailchimp_woocommerce_is_subscribed=_IN,
        mailpoet_subscriber_status=_IN,
    ),
    *_known(
        "Braze",
        "users export, user profile object",
        email_subscribe=_IN,
        push_subscribe=ConsentColumn("in", "push"),
        email_unsubscribed_at=_OUT,
        email_hard_bounced_at=_OUT,
    ),
    *_known(
        "Iterable",
        "user profile",
        unsubscribedChannelIds=_OUT,
        unsubscribedMessageTypeIds=_OUT,
    ),
    *_known("SendGrid", "export of global unsubscribes", Unsubscribed=_OUT),
    *_known(
        "ActiveCampaign",
        "export of contacts",
        **{"Unsubscribed Date": _OUT, "Email Subscription Status": _IN},
    ),
    *_known(
        "Salesforce",
        "object reference: Contact, Lead",
        HasOptedOutOfEmail=_OUT,
        DoNotCall=ConsentColumn("out", "phone"),
        HasOptedOutOfFax=ConsentColumn("out", "phone"),
        IsEmailBounced=_OUT,
        **{"Email Opt Out": _OUT, "Do Not Call": ConsentColumn("out", "phone")},
    ),
    *_known(
        "Salesforce",
        "Account Engagement (Pardot): prospect fields, and as synced to contacts",
        opted_out=_OUT,
        is_do_not_email=_OUT,
        pi__pardot_hard_bounced__c=_OUT,
        **{"Do Not Email": _OUT},
    ),
    *_known("Marketing Cloud", "All Subscribers; SubscriberStatus", **{"Date Unsubscribed": _OUT}),
    *_known(
        "Intercom",
        "contact model",
        unsubscribed_from_emails=_OUT,
        unsubscribed_from_sms=ConsentColumn("out", "sms"),
        **{"Unsubscribed from Emails": _OUT},
    ),
    *_known("Segment", "traits; Consent Manager", email_opt_in=_IN, marketing_consent=_IN),
    *_known("Mixpanel", "user profiles", **{"$unsubscribed": _OUT}),
    *_known(
        "CleverTap",
        "user profiles",
        **{
            "MSG-email": _IN,
            "MSG-sms": ConsentColumn("in", "sms"),
            "MSG-push": ConsentColumn("in", "push"),
            "MSG-whatsapp": ConsentColumn("in", "whatsapp"),
        },
    ),
    *_known(
        "Brevo",
        "Contacts API; export of contacts",
        emailBlacklisted=_OUT,
        smsBlacklisted=ConsentColumn("out", "sms"),
        EMAIL_BLACKLIST=_OUT,
        **{"DOUBLE_OPT-IN": _IN},
    ),
    *_known(
        "Microsoft Dynamics",
        "contact entity",
        donotbulkemail=_OUT,
        donotemail=_OUT,
        **{"Do not allow Bulk Emails": _OUT},
    ),
    *_known("Pipedrive", "Persons API; export", marketing_status=_IN),
    *_known("Zoho", "export of contacts", **{"Email Opt Out": _OUT}),
    *_known("Mailjet", "contact", IsExcludedFromCampaigns=_OUT),
    *_known("MailUp", "export of unsubscribed", OptOut_Date=_OUT),
    *_known("Magento", "newsletter_subscriber", is_subscribed=_IN, subscriber_status=_IN),
    *_known("PrestaShop", "customer", newsletter=_IN, optin=_IN),
    *_known("Vero", "user properties", **{"Unsubscribed?": _OUT}),
    *_known("Close", "contacts, emails", is_unsubscribed=_OUT),
)

BY_NAME = {plain_name(each.name): each.means for each in KNOWN}
"""What each says, by its name in lower case with `_` between its words."""
