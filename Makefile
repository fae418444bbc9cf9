# SPDX-License-Identifier: Apache-2.0
# `make faults`: the whole fault matrix (CONTRIBUTING.md says how long it takes). FAULTS="--version 7.4 --step 'one.vm.*'"
.PHONY: faults
faults:
	.venv/bin/python -m tests.faults $(FAULTS)
