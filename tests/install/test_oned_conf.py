# SPDX-License-Identifier: Apache-2.0
"""Our marketplace driver in files as admins have them: put in once, taken out again, every other byte as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebackup_driver.installation import oned_conf

V64 = """\
#*******************************************************************************
# Marketplaces. An example: MARKET_MAD = [ EXECUTABLE = "one_market", ARGUMENTS = "-m nothing" ]
#   -m marketplace types, with commas; don't use "spaces
#*******************************************************************************
PORT = 2633
LISTEN_ADDRESS = "0.0.0.0"
DB = [ BACKEND = "mysql", PASSWD = "a#b]c\\"d", # a comment with ] and "
       NAME = opennebula ]

#MARKET_MAD = [ EXECUTABLE = "one_market", ARGUMENTS = "-t 5 -m old" ]
MARKET_MAD = [
    EXECUTABLE = "one_market",
    ARGUMENTS  = "-t 15 -m http,s3,one,linuxcontainers,turnkeylinux,dockerhub,docker_registry"
]

MARKET_MAD_CONF = [
    NAME = "one",
    SUNSTONE_NAME  = "OpenNebula.org Marketplace",
    REQUIRED_ATTRS = "",
    APP_ACTIONS = "monitor",
    PUBLIC = "yes"
]
MARKET_MAD_CONF = [ NAME = "http", REQUIRED_ATTRS = "BASE_URL,PUBLIC_DIR", APP_ACTIONS = "create, delete, monitor" ]
DS_MAD_CONF = [ NAME = "onebackup", PERSISTENT_ONLY = "NO" ]
"""
V74 = """\
MONITORING_INTERVAL_MARKET = 600
TM_MAD = [ EXECUTABLE = "one_tm", ARGUMENTS = "-t 15 -d dummy,lvm,shared -m wrong" ]
market_mad=[executable="one_market",arguments="-w 60 -t 15 -m http,s3,one,linuxcontainers --proxy http://10.0.0.1:8080"]
MARKET_MAD = [ EXECUTABLE = "one_market", ARGUMENTS = "-m second,never,read" ]
MARKET_MAD_CONF = [
  NAME = "http", SUNSTONE_NAME = "HTTP [local]", REQUIRED_ATTRS = "BASE_URL,PUBLIC_DIR",
  APP_ACTIONS = "create, delete, monitor"]"""  # no end of line at its end

ADDED = {
    "6.4": (V64, 'turnkeylinux,dockerhub,docker_registry,onebackup"'),
    "7.4": (V74, "-m http,s3,one,linuxcontainers,onebackup --proxy"),
    "windows": (V64.replace("\n", "\r\n"), 'docker_registry,onebackup"\r\n'),
    "latin-1": (V64.replace("Marketplaces", "March\xe9s"), 'docker_registry,onebackup"'),
    "short": ('MARKET_MAD = [ ARGUMENTS = "-mhttp" ]\n', '"-mhttp,onebackup"'),
    "long": ('MARKET_MAD = [ ARGUMENTS = "--market-types=http,s3" ]\n', '"--market-types=http,s3,onebackup"'),
    "long with a space": (
        'MARKET_MAD = [ ARGUMENTS = "--market-types http -t 3" ]',
        '"--market-types http,onebackup -t 3"',
    ),
    "two lines": ('MARKET_MAD\n=\n[\nARGUMENTS\n=\n"-t 15\n-m http"\n]', '-m http,onebackup"'),
    "tabs": (
        '\tMARKET_MAD\t=\t[\tEXECUTABLE\t=\tone_market,\tARGUMENTS\t=\t"-t 1 -m\thttp"\t]\n',
        '-m\thttp,onebackup"',
    ),
}


@pytest.mark.parametrize("kind", ADDED)
def test_added_once_and_removed_to_the_byte(kind: str) -> None:
    text, shown = ADDED[kind]
    added = oned_conf.add(text)
    assert added.list and added.block
    assert added.text.count(shown) == 1
    assert added.text.count('= "onebackup"') == text.count('= "onebackup"') + 1
    assert added.text.replace(",onebackup", "", 1).startswith(text)  # our word and our block, nothing else
    assert oned_conf.add(added.text) == oned_conf.Edited(added.text, False, False)
    assert oned_conf.advice(added.text) == []
    assert oned_conf.remove(added.text, from_list=True) == text


def test_without_a_list_every_driver_is_served() -> None:
    text = 'MARKET_MAD = [ EXECUTABLE = "one_market", ARGUMENTS = "-t 15" ]\n'
    added = oned_conf.add(text)
    assert (added.list, added.block) == (False, True)
    assert added.text == text + oned_conf.BLOCK
    assert oned_conf.remove(added.text, from_list=False) == text
    assert oned_conf.add('MARKET_MAD = [ EXECUTABLE = "one_market" ]').block


def test_what_the_admin_wrote_is_not_ours() -> None:
    """The driver added by hand stays when we go; a list that got longer after us keeps what is new."""
    by_hand = V64.replace("one,linux", "onebackup,one,linux") + '\nMARKET_MAD_CONF = [ NAME="onebackup" ]\n'
    assert oned_conf.add(by_hand) == oned_conf.Edited(by_hand, False, False)
    assert oned_conf.remove(by_hand, from_list=False) == by_hand
    longer = oned_conf.add(V74).text.replace("onebackup --proxy", "onebackup,site --proxy") + "\nPORT = 2634\n"
    removed = oned_conf.remove(longer, from_list=True)
    assert removed == V74.replace("linuxcontainers --proxy", "linuxcontainers,site --proxy") + "\nPORT = 2634\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PORT = 2633\n",
        '#MARKET_MAD = [ ARGUMENTS = "-m http" ]\n',
        'MARKET_MAD = [ ARGUMENTS = "-t 15 -m',
        'MARKET_MAD = [ ARGUMENTS = "-t 15 -m \\"http,s3\\"" ]',
    ],
)
def test_what_is_not_understood_is_not_changed(text: str) -> None:
    with pytest.raises(oned_conf.NotUnderstood):
        oned_conf.add(text)
    assert len(oned_conf.advice(text)) == 2


def test_the_advice_names_what_is_there() -> None:
    first, second = oned_conf.advice(V74)
    assert first.endswith('ARGUMENTS = "... -m http,s3,one,linuxcontainers,onebackup"')
    assert 'MARKET_MAD_CONF = [ NAME = "onebackup"' in second


@given(before=st.text('aA=[]"#\\, \n', max_size=40), after=st.text('aA=[]"#\\, \n', max_size=40))
def test_any_surroundings_come_back(before: str, after: str) -> None:
    text = f'{before}\nMARKET_MAD = [ ARGUMENTS = "-t 15 -m http,s3" ]\n{after}'
    try:
        added = oned_conf.add(text)
    except oned_conf.NotUnderstood:
        return  # a quote or bracket that is never closed
    assert oned_conf.remove(added.text, from_list=added.list) == text
