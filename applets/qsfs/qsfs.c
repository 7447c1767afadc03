/* qsfs: the front door for people. One table of verbs; each verb has its own file. */
#include <signal.h>

#include "applets/qsfs/ns.h"
#include "applets/qsfs/probe.h"
#include "applets/qsfs/status.h"
#include "applets/qsfs/sync.h"
#include "applets/qsfs/up.h"
#include "core/base/applet.h"
#include "core/base/log.h"
#include "core/crypto/crypto.h"

static const struct verb qsfs_verbs[] = {
	{.name = "up",
	 .summary = "mount a volume, making it when there is none",
	 .options = up_options,
	 .main = up_main},
	{.name = "down",
	 .summary = "stop a volume in order: nothing accepted is lost",
	 .options = down_options,
	 .main = down_main},
	{.name = "status",
	 .summary = "services, stores, what is not safe yet, recovery point",
	 .options = status_options,
	 .main = status_main},
	{.name = "sync", .summary = "make a recovery point now", .options = sync_options, .main = sync_main},
	{.name = "evict",
	 .summary = "free local space: drop closed segments that are proved to be stored",
	 .options = evict_options,
	 .main = evict_main},
	{.name = "ns",
	 .summary = "make the namespaces that zdbfs needs",
	 .options = ns_options,
	 .main = ns_main},
	{.name = "probe",
	 .summary = "readiness of a socket or a mount, for units",
	 .usage = "[SOCKET...]",
	 .options = probe_options,
	 .main = probe_main,
	 .hidden = true},
	{.name = NULL},
};

static int qsfs_main(const struct applet *self, int argc, char **argv)
{
	struct opt_args args;
	int code;

	log_init("qsfs", LOG_CLI, LOG_LEVEL_INFO);
	signal(SIGPIPE, SIG_IGN);
	if (!opt_parse_applet(self, NULL, argc, argv, &args, &code))
		return code;
	if (crypto_init() != 0)
		die(EXIT_FAILED, "cannot initialise the crypto library");
	return applet_run_verb(self, NULL, args.argc, args.argv);
}

APPLET_REGISTER(qsfs) = {
	.name = "qsfs",
	.aliases = "create_namespaces=ns",
	.summary = "mount, watch and stop a quantum-safe volume",
	.usage = "VERB",
	.main = qsfs_main,
	.verbs = qsfs_verbs,
	.man = "## FILES\n"
	       "    /etc/qsfs.ini          configuration of a volume on remote stores\n"
	       "    DIR/keys               what a person must keep; whoever holds it reads the volume\n"
	       "    DIR/front              what a lost node loses; up restores it from the stores\n"
	       "    DIR/backends           the stores of a volume without configuration\n"
	       "\n"
	       "## EXIT STATUS\n"
	       "    0 done   1 failed   2 usage or configuration   4 degraded, everything is readable   5 "
	       "the volume is up already\n"
	       "    6 key missing or wrong   7 not found, not up   75 try again later\n"
	       "\n"
	       "## EXAMPLES\n"
	       "    qsfs up --data /srv/volume --mount /mnt/volume\n"
	       "    qsfs sync --wait --data /srv/volume\n"
	       "    qsfs down --data /srv/volume\n",
};
