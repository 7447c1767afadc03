/*
 * mem_guard: a landing place per thread, and one handler that leads there.
 */
#include "core/base/mem_guard.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

/* A handler gets no context. */
static _Thread_local sigjmp_buf *volatile landing; /* NULL outside a guarded run */
static struct sigaction before;

/* As if we had never been here. */
static void pass_on(int signo, siginfo_t *info, void *context)
{
	bool sent = info->si_code <= 0;

	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(signo, info, context);
	} else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
		before.sa_handler(signo);
	} else if (!sent || before.sa_handler == SIG_DFL) {
		(void)signal(signo, SIG_DFL); /* a fault comes again when we return, and ends the process */
		if (sent)
			(void)raise(signo);
	}
}

static void on_fault(int signo, siginfo_t *info, void *context)
{
	if (landing != NULL && info->si_code > 0)
		siglongjmp(*landing, 1);
	pass_on(signo, info, context);
}

int mem_guard_install(void)
{
	/* Nothing is masked meanwhile, so that nothing has to be unmasked after a jump. */
	struct sigaction action = {.sa_sigaction = on_fault,
				   .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK},
			 now;

	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, NULL, &now) < 0)
		return -errno;
	if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_fault)
		return 0;
	before = now;
	return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

bool mem_guard_run(void (*fn)(void *ctx), void *ctx)
{
	sigjmp_buf *outer = landing;
	sigjmp_buf here;

	if (sigsetjmp(here, 0)) {
		landing = outer;
		return false;
	}
	landing = &here;
	atomic_signal_fence(memory_order_seq_cst); /* what fn reads is read between the two */
	fn(ctx);
	atomic_signal_fence(memory_order_seq_cst);
	landing = outer;
	return true;
}
