# SPDX-License-Identifier: Apache-2.0
"""Templates as the one who restores may have them: oned names, one after the other, the attributes that only an admin
may set (*_RESTRICTED_ATTR of oned.conf, src/template/Template.cc check_restricted), and those are left out.

The list itself is not asked for: one.system.config shows it to admins only, and sites change it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from onebackup_driver import errors, restore_template
from onebackup_driver.context import Context
from onebackup_driver.xml_values import Attribute

#: Of a vector's attribute 6.0 to 7.4 say only the key: `MAC` for NIC/MAC.
_REFUSAL = re.compile(r"restricted attribute:? ([A-Z0-9_]+(?:/[A-Z0-9_]+)?)", re.IGNORECASE)
Answer = TypeVar("Answer")


def without_restricted(
    context: Context, attributes: list[Attribute], ask: Callable[[list[Attribute]], Answer]
) -> Answer:
    """What `ask` answers for the attributes, less those that oned refuses to this user. Raises what `ask` raises."""
    while True:
        try:
            return ask(attributes)
        except errors.NotAuthorized as error:
            found = _REFUSAL.search(str(error))
            left = restore_template.without(attributes, found.group(1).upper()) if found else attributes
            if found is None or left == attributes:
                raise
            context.log.warning("%s does not come back: only an admin may set it", found.group(1))
            attributes = left
