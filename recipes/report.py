"""Writes the page of a run (report.html) anew, of what is in its folder, and the list of all runs (index.html).

Usage:
    python recipes/report.py                                    of every run in output/
    python recipes/report.py output/mnist_convnet/latest        of one
"""
import os
import sys
from pathlib import Path

import common  # noqa: F401, first: without an environment, says in one line how to make it

from common import cli, report
from common.errors import InputError


def parse_args(argv):
    """Parses the command line; see --help."""
    parser = cli.make_parser(__doc__, running=False)
    parser.add_argument('runs', nargs='*', type=Path, metavar='RUN', help="a run's folder (default: every run)")
    return parser.parse_args(argv)


@cli.exit_codes
def main(argv=None):
    """Writes the pages; returns the exit code: 2 where there is no folder, or the record of a run is damaged."""
    args, code = parse_args(argv), 0
    if not args.runs and not os.path.isdir(str(args.output_dir)):
        raise InputError(f'--output-dir {args.output_dir}: no such folder; name one with runs')
    for run_dir in args.runs or report.find_runs(args.output_dir):
        try:
            print(report.write(run_dir))
        except InputError as error:
            if args.runs:
                raise
            print(f'skipped: {error}', file=sys.stderr)
            code = 2
    if args.output_dir.is_dir():
        print(report.write_index(args.output_dir))
    return code


if __name__ == '__main__':
    sys.exit(main())
