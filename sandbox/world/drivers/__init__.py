# SPDX-License-Identifier: Apache-2.0
"""Our own marketplace drivers, each a program: `python -m sandbox.world.drivers.<mad>_market ACTION BASE64 ID`."""
