# SPDX-License-Identifier: Apache-2.0
"""The deduplicating, verifying repository of restore points. Its format: docs/repository-format.md."""
