# SPDX-License-Identifier: Apache-2.0
# `make faults`: the whole fault matrix (CONTRIBUTING.md says how long it takes). FAULTS="--version 7.4 --step 'one.vm.*'"
.PHONY: faults
faults:
	.venv/bin/python -m tests.faults $(FAULTS)

# `make hammer`: everybody at work at the same time, by seed. HAMMER="--version 7.4 --seed 7 --operations 200"
.PHONY: hammer
hammer:
	nice -n 19 .venv/bin/pytest -q tests/concurrency -m "wide or not wide" --ignore tests/concurrency/test_hammer.py
	nice -n 19 .venv/bin/python -m tests.concurrency $(or $(HAMMER),--seeds 10 --operations 60)

# `make fuzz`: every parser with any bytes, each target for FUZZ_SECONDS (30). FUZZ="--group payloads"
.PHONY: fuzz
fuzz:
	nice -n 19 .venv/bin/python -m tests.hostile.fuzz --seconds $(or $(FUZZ_SECONDS),30) $(FUZZ)

# `make deputy`: every attack of a tenant and every failure that is read at night; CI runs a sample of them.
.PHONY: deputy
deputy:
	DEPUTY_TESTS=all .venv/bin/python -m pytest -q tests/deputy

# `make repository-faults`: everything that can happen to a repository. REPOSITORY_FAULTS="--group damage --where 's3*'"
.PHONY: repository-faults
repository-faults:
	.venv/bin/python -m tests.repository.faults $(REPOSITORY_FAULTS)
