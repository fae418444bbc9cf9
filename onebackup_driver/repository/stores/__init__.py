# SPDX-License-Identifier: Apache-2.0
"""Where a repository keeps its objects. One module for each kind of store, one contract: base.Store."""
