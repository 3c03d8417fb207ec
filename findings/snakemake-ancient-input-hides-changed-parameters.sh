#!/usr/bin/env bash
# A rule's `ancient()` input hides that the rule's own parameters have changed.
#
# Version: snakemake 9.27.1.
# Expected: `ancient(file)` says that a newer file, or one that is made again, is no reason to run the rule; any other
#   reason is one still. `first` makes first.txt, `second` takes it as ancient, and both have a parameter. With both
#   parameters changed, both rules should run, as they would one at a time.
# Seen: with the second parameter changed alone, `second` is planned. With both changed, `first` is planned alone and
#   `second` is not: what it made stays there with the old parameter, and the run ends well. A second run then plans it.
# Why: DAG.update_needrun does not look for reasons in jobs below one that has to run, since those will run anyhow;
#   it then leaves out those whose inputs from it are all ancient, and never comes back to look.
# Fails if a version plans both.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet snakemake==9.27.1
cd "$folder"
cat >Snakefile <<'SNAKEFILE'
rule second:
    input: ancient("first.txt")
    output: "second.txt"
    params: value=config["second"]
    shell: "echo {params.value} > {output}"

rule first:
    output: "first.txt"
    params: value=config["first"]
    shell: "echo {params.value} > {output}"
SNAKEFILE

planned() {
    "$folder/venv/bin/snakemake" --cores 1 -n --config "$@" 2>&1 | sed -n 's/^\(local\)\{0,1\}rule \(.*\):$/\2/p' | sort -u |
        tr '\n' ' '
}

"$folder/venv/bin/snakemake" --cores 1 --config first=1 second=1 >/dev/null 2>&1
alone=$(planned first=1 second=2)
both=$(planned first=2 second=2)
echo "second parameter changed: plans ${alone:-nothing}"
echo "both parameters changed:  plans ${both:-nothing}"
[ "$alone" = "second " ] && [ "$both" = "first " ]
