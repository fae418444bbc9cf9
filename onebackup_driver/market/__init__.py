# SPDX-License-Identifier: Apache-2.0
"""The marketplace driver: import, delete and monitor, as oned starts them."""
