# SPDX-License-Identifier: Apache-2.0
"""What a freshly installed front-end holds."""

from __future__ import annotations

from pathlib import Path

from sandbox.core import acl, auth
from sandbox.core.caller import SYSTEM
from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.core.template import Template
from sandbox.objects import acls, datastores, infrastructure, markets, users

DIRECTORIES = ("datastores/0", "datastores/1", "datastores/2", "log", ".one", "remotes", "tmp")
MARKETS: list[tuple[str, str, str, int, tuple[str, ...]]] = [
    ("OpenNebula Public", "one", "OpenNebula Systems MarketPlace", 0, ("6.4", "7.4")),
    ("Linux Containers", "linuxcontainers",
     "MarketPlace for the public image server fo LXC & LXD hosted at linuxcontainers.org", 1, ("6.4", "7.4")),
    ("TurnKey Linux Containers", "turnkeylinux",
     "TurnKey linux is a free software repository based on Debian images hosted at turnkeylinux.org", 1, ("6.4",)),
    ("DockerHub", "dockerhub",
     "DockerHub is the world's largest library and  community for container images hosted at hub.docker.com/", 1,
     ("6.4",)),
]


def directories(state: Path) -> None:
    for name in DIRECTORIES:
        (state / name).mkdir(parents=True, exist_ok=True)


def populate(front: Front, password: str) -> None:
    """Fills an empty database; does nothing to one that has users already."""
    if front.all("user"):
        return
    with front.transaction():
        for number, name in ((0, "oneadmin"), (1, "users")):
            front.add(Record("group", number, name))
        users.make_user(front, "oneadmin", password, "core", 0)
        server = users.make_user(front, "serveradmin", "", "server_cipher", 0)
        server["password"] = auth.hashed(server["password"])
        front.add(Record("cluster", 0, "default", template=Template([("RESERVED_CPU", ""), ("RESERVED_MEM", "")])))
        front.add(Record("zone", 0, "OpenNebula"))
        infrastructure.make_host(front, "localhost", "dummy", "dummy", 0)
        _default_security_group(front)
        _datastores(front)
        _markets(front)
        for rule in acl.defaults(front.settings.modern):
            acls.add(front, rule)


def _default_security_group(front: Front) -> None:
    template = Template([("DESCRIPTION", "The default security group.")])
    for kind in ("OUTBOUND", "INBOUND"):
        template.add("RULE", {"PROTOCOL": "ALL", "RULE_TYPE": kind})
    front.add(Record("secgroup", 0, "default", template=template))


def _datastores(front: Front) -> None:
    front.counters["datastore"] = 0
    files_tm = "local" if front.settings.modern else "qcow2"
    for name, tm_mad, ds_mad, kind in (("system", "qcow2", "", "SYSTEM_DS"), ("default", "qcow2", "fs", "IMAGE_DS"),
                                       ("files", files_tm, "fs", "FILE_DS")):
        template = Template([("TM_MAD", tm_mad), ("TYPE", kind)])
        if ds_mad:
            template.add("DS_MAD", ds_mad)
        datastores.make(front, SYSTEM, name, template)
    front.counters["datastore"] = 100


def _markets(front: Front) -> None:
    front.counters["market"] = 0
    for name, mad, description, state, versions in MARKETS:
        if front.settings.version in versions:
            template = Template([("DESCRIPTION", description), ("MARKET_MAD", mad)])
            record = markets.make(front, SYSTEM, name, template)
            record.rights = [1, 1, 1, 1, 0, 0, 1, 0, 0]
            record["state"] = state
    front.counters["market"] = 100
