"""When a value that was read back is the one that was sent, rule by rule."""

import pytest

from backfill.verification.values import CONTROL, RULES, Difference, differences

SAME = {
    "nothing": [(None, None), ("", None), (None, "")],
    "boolean": [(True, "true"), (False, "false"), (True, True)],
    "number": [(7, "7"), (7, "7.0"), (0.1, "0.1"), (1e21, "1e+21"), (2**63, "9223372036854775808")],
    "nested": [
        ({"a": [1, None]}, '{ "a": [1, null] }'),
        ([], "[]"),
        ({"a": 1, "b": 2}, '{"b":2,"a":1}'),
    ],
    "email": [("A@x.org", "a@x.org")],
    "text": [("é", "é"), ("7", "7"), ("true", "true"), ('{"a":1}', '{"a":1}')],
}
OTHER = {
    "nothing": [(None, "x"), ("", "0")],
    "boolean": [(True, "false"), (False, None), (True, "1")],
    "number": [
        (7, "8"),
        (7, None),
        (7, "seven"),
        (0, ""),
        (1, "true"),
        (1000, "1_000"),
        (7, "\uff17"),
    ],
    "nested": [
        ({"a": 1}, '{"a":2}'),
        ({"a": True}, '{"a":1}'),
        ([0], "[false]"),
        ({"a": 1}, None),
        ([1], "[1"),
        ([1], "[1,1]"),
    ],
    "email": [("a@x.org", "b@x.org"), ("a@x.org", None)],
    "text": [("a", "A"), ("a", " a"), ("a", None), ("7", "7.0")],
}


def name_of(rule):
    """An attribute that the rule is about."""
    return "email" if rule.name == "email" else "plan"


@pytest.mark.parametrize("rule", RULES, ids=lambda each: each.name)
def test_each_rule_knows_what_is_the_same_and_what_is_not(rule):
    """By the first rule that is about the value, which is this one."""
    for sent, found in SAME[rule.name]:
        assert rule is next(each for each in RULES if each.concerns(name_of(rule), sent))
        assert list(differences({name_of(rule): sent}, {name_of(rule): found})) == []
    for sent, found in OTHER[rule.name]:
        assert len(list(differences({name_of(rule): sent}, {name_of(rule): found}))) == 1


def test_every_rule_says_where_it_is_known_from():
    """Or that it is assumed; the README shows the table."""
    assert SAME.keys() == OTHER.keys() == {each.name for each in RULES}
    assert all(each.says and each.source for each in RULES)


def test_a_topic_stands_in_the_preferences():
    """The dotted key sets one member of a document that is written back as text."""
    sent = {"cio_subscription_preferences.topics.topic_3": True, "unsubscribed": False}
    preferences = '{"topics":{"topic_3":true,"topic_4":false}}'
    found = {"cio_subscription_preferences": preferences, "unsubscribed": "false"}

    assert list(differences(sent, found)) == []
    (wrong,) = differences({"cio_subscription_preferences.topics.topic_4": True}, found)
    assert (wrong.sent, wrong.found) == ("true", "false")


def test_a_channel_stands_beside_the_topics():
    """A second dotted key of the same document."""
    sent = {"cio_subscription_preferences.channels.sms": False}

    assert (
        list(differences(sent, {"cio_subscription_preferences": '{"channels":{"sms":false}}'}))
        == []
    )
    assert len(list(differences(sent, {"cio_subscription_preferences": '{"channels":{}}'}))) == 1


def test_what_only_says_how_to_take_an_identify_is_not_compared():
    """No attribute comes of it."""
    assert list(differences(dict.fromkeys(CONTROL, "x"), {})) == []


def test_what_else_is_there_is_nobodys_business():
    """Other programs write to the same profile."""
    assert list(differences({"a": 1}, {"a": "1", "b": "2"})) == []
    assert list(differences({"a": 1}, {"b": "2"})) == [Difference("a", "1", "")]
