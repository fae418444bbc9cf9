# SPDX-License-Identifier: Apache-2.0
"""Everything that can go wrong with a repository, at every step: python -m tests.repository.faults"""
