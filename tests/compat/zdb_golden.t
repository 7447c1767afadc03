#!/usr/bin/python3
# Directories that 0-db 2.0.7 wrote, whole and damaged, are read; what we write from the same commands is byte for byte what it wrote.
import contextlib, importlib.util, io, os, subprocess, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'story'))
from zdb_lib import *

GOLDEN = os.path.join(os.environ.get('QSFS_SHARED', os.path.join(TOP, '..', 'shared')), 'vectors', 'golden')
# The data file was copied after the index, so it holds records that the index does not know. The manifest names the values of the index;
# ours come from the log, which is newer: both are values that were written, ours are the last ones.
NEWER = {'user.live-busy-index-first', 'seq.live-busy-index-first'}
# The active data file is gone, or cut back to its header: the original goes on with an empty one, we refuse the namespace (never recreated
# empty while the index names it) and serve the others.
REFUSED = {m + v for m in ('user', 'seq') for v in ('.data-missing-current', '.data-header-only')}


def load_checker():
    path = os.path.join(GOLDEN, 'verify_golden.py')
    if not os.path.exists(path):
        skip_all('the golden directories are not here')
    spec = importlib.util.spec_from_file_location('verify_golden', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unpack(name, directory):
    archive = os.path.join(GOLDEN, name + '.tar.zst')
    subprocess.run(
        ['bash', '-c', 'set -o pipefail; zstd -dcq "$0" | tar -C "$1" -xf -', archive, directory], check=True)


def checked(call, *args):
    """Runs one of the checker's functions. Returns (passed, failed, what it printed)."""
    score, out = golden.Score(False), io.StringIO()
    with contextlib.redirect_stdout(out):
        call(*args, score)
    return score.p, score.f, out.getvalue()


OPTIONS = dict(original=False, variant=None, probe=None, replay=None, files=None, only=None)


def server_in(name, directory, mode):
    s = Server(name, '--datasize', '524288', '--mode', mode)
    os.symlink(os.path.join(directory, 'data'), s.file('data'))
    os.symlink(os.path.join(directory, 'index'), s.file('index'))
    return s


def reads(mode):
    item = 'zdb-' + mode
    s = server_in('golden', os.path.join(work.dir, item), mode).start()
    header, records = golden.load(os.path.join(GOLDEN, item + '.manifest.jsonl'))
    good, bad, text = checked(golden.verify_zdb, s.path, header, records, OPTIONS)
    ok(good > 300 and not bad, '%s: %d answers are those of the manifest' % (item, good), text)
    s.stop()
    s.start()
    good, bad, text = checked(golden.verify_zdb, s.path, header, records, OPTIONS)
    ok(good > 300 and not bad, '%s: and still after a restart of ours' % item, text)
    equal(s.stop(), 143, 'clean stop')


def writes(mode):
    item = 'zdb-' + mode
    header, records = golden.load(os.path.join(GOLDEN, item + '.manifest.jsonl'))
    s = Server('replay', '--datasize', '524288', '--mode', mode).start()
    good, bad, text = checked(golden.verify_replay, s.path, header, os.path.join(work.dir, item, 'ops.jsonl'), OPTIONS)
    ok(good > 300 and not bad, '%s: %d replies are those of the original' % (item, good), text)
    equal(s.stop(), 143, 'clean stop')
    good, bad, text = checked(golden.verify_files, s.dir, header, records, OPTIONS)
    ok(good > 50 and not bad, '%s: %d files are what the original wrote' % (item, good), text)


def damaged():
    header, records = golden.load(os.path.join(GOLDEN, 'zdb-crash.manifest.jsonl'))
    for variant in sorted(os.listdir(os.path.join(work.dir, 'zdb-crash'))):
        s = server_in('crash', os.path.join(work.dir, 'zdb-crash', variant), variant.split('.')[0])
        wrong, text = 0, ''
        for probe in 'write', 'check':
            s.start()
            if variant in REFUSED:
                c = s.client()
                equal([c('SELECT', 'alpha'), c('SELECT', 'beta')], [Error('Namespace not found'), Status('OK')], variant + ': alpha is refused, beta served')
                ok('namespace is not available namespace=alpha' in s.text(), variant + ': with a message', s.text())
            else:
                good, bad, out = checked(golden.verify_crash, s.path, header, records, dict(OPTIONS, variant=variant, probe=probe))
                wrong, text = wrong + bad, text + out
            equal(s.stop(), 143, variant + ': clean stop')
        if variant in NEWER:
            ok(all('must be readable got value' in line for line in text.splitlines()), variant + ': values of the log, newer than the index', text)
        elif variant not in REFUSED:
            ok(not wrong, variant, text)


golden = load_checker()
work = Server('golden-work')     # only for its directory


def main():
    for item in 'zdb-user', 'zdb-seq', 'zdb-crash':
        unpack(item, work.dir)
    for mode in 'user', 'seq':
        reads(mode)
        writes(mode)
    damaged()


run(main)
