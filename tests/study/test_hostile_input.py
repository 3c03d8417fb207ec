"""Whatever a configuration says, it is accepted or refused in one line: never a traceback."""

import copy
import re

import yaml
from conftest import ROOT
from frontier.errors import UserError
from frontier.study import requests, runs, schema
from frontier.study.identities import study_identities
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHIPPED = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
CODE = {path.stem: "" for path in (ROOT / "workflow/scripts").glob("*.py")}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5000),
    st.floats(allow_nan=True),
    st.text(max_size=12),
    st.sampled_from(["2r", "nf4", "nf4-r64-s0", "../../etc", "2e-4", "auto", "cuda:99", "{question}", "\x00", "null"]),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def places(tree, prefix=()):
    for key, value in tree.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from places(value, (*prefix, key))


@settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.sampled_from(sorted(places(SHIPPED))), values, st.booleans()), min_size=1, max_size=3),
)
def test_a_thousand_configurations_are_planned_or_refused_in_one_line(changes):
    study = copy.deepcopy(SHIPPED)
    for place, value, removed in changes:
        node = study
        for key in place[:-1]:
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(place[-1], None)
            if not removed:
                node[place[-1]] = value
    refusal = None
    try:
        resolved = schema.resolve(study)
    except UserError as error:
        refusal = str(error)
    if refusal is not None:
        assert refusal.startswith("config: ")
        assert "\n" not in refusal
        return
    identities = study_identities(resolved, CODE)
    for run in runs.run_names(resolved)[:20]:
        assert re.fullmatch(runs.RUN_PATTERN, run)
        assert runs.run_name(runs.parse_run(run, resolved)) == run
        assert len(identities["training"](run)) == 64
        assert requests.training_request(resolved, run)["run"] == run
