"""The files that start a nightly sync: a crontab line, systemd units, Kubernetes manifests."""

from backfill.schedule.nightly import FORMS as FORMS
from backfill.schedule.nightly import Form as Form
from backfill.schedule.nightly import Nightly as Nightly
from backfill.schedule.nightly import nightly_of as nightly_of
from backfill.schedule.unit_files import files as files
