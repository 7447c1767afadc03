/*
 * note: see note.h.
 */
#include "applets/zinit/note.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int kernel_fd = -1;

void note_init(bool is_debug, bool is_kernel)
{
	log_init("zinit", LOG_CLI, is_debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	log_fd_set(STDOUT_FILENO);
	if (is_kernel && kernel_fd < 0)
		kernel_fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

void note(enum log_level level, const char *module, const char *format, ...)
{
	static const char *const names[] = {"ERROR", "WARN", "INFO", "DEBUG"};
	/* Kernel priorities from <sys/syslog.h>, facility daemon. */
	static const int priorities[] = {27, 28, 30, 31};
	char text[1024], line[1200];
	va_list ap;
	int len;

	if (!log_enabled(level))
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	log_at(level, "%s (%s) %s", names[level], module, text);
	if (kernel_fd < 0)
		return;
	len = snprintf(line, sizeof(line), "<%d>zinit: %s (%s) %s\n", priorities[level], names[level], module,
		       text);
	/* The kernel's log is a second copy: what it does not take is lost only there. */
	(void)!write(kernel_fd, line, len < (int)sizeof(line) ? (size_t)len : sizeof(line) - 1);
}
