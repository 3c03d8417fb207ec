# The configuration's files, looked at before Snakemake reads them: it meets some with a traceback, others in silence.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))

from frontier.errors import UserError
from frontier.study import config_files, folders, refusals

# The study's configuration, as an input of summarize_runs, which refuses records that do not fit it. By the file's date
# Snakemake sees an edit even where .snakemake is lost, and with it what Snakemake knew of each job's parameters. It is
# no other rule's input, or every edit would make everything again.
CONFIG_FILE = "config/config.yaml"

try:
    folders.check_folder(bool(workflow.config_settings.configfiles))
    folders.check_targets(sys.argv[1:])
    config_files.check(config_files.sources(CONFIG_FILE, workflow.config_settings))
except UserError as error:
    sys.exit(f"error: {error}{refusals.of_merged(CONFIG_FILE, workflow.config_settings)}")
