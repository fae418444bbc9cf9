# SPDX-License-Identifier: Apache-2.0
"""The bytes of a repository's objects, with no input or output: docs/repository-format.md in code."""
