/*
 * Sockets that clients come in by: a server for its own machine alone does not pace what it sends there; one for others does as the system says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/support/zdbd_peer.h"

#define FDS 256

/* Congestion control of the socket of this process that listens there, or is connected from there. */
static bool control_of(uint16_t port, bool listens, char *name, socklen_t size)
{
	for (int fd = 0; fd < FDS; fd++) {
		struct sockaddr_storage addr;
		socklen_t len = sizeof(addr), yes_len = sizeof(int);
		in_port_t at;
		int yes = 0;

		if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0 ||
		    (addr.ss_family != AF_INET && addr.ss_family != AF_INET6))
			continue;
		at = addr.ss_family == AF_INET ? ((struct sockaddr_in *)(void *)&addr)->sin_port
					       : ((struct sockaddr_in6 *)(void *)&addr)->sin6_port;
		if (ntohs(at) != port || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &yes_len) < 0 ||
		    (yes != 0) != listens)
			continue;
		memset(name, 0, size);
		size--;
		return getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size) == 0;
	}
	return false;
}

static void system_default(char *name, size_t size)
{
	socklen_t len = (socklen_t)size - 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memset(name, 0, size);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
	close(fd);
}

/* What a server that listens there uses, for its listener and for a client. */
static void expect_control(const char *host, const char *want)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char name[32];
	struct peer p;
	struct zr rig;
	int fd;

	zr_setup(&rig);
	rig.opt.listen = host;
	zr_start(&rig);
	assert_true(control_of(zdbd_port(rig.server), true, name, sizeof(name)));
	assert_string_equal(name, want);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	in.sin_port = htons(zdbd_port(rig.server));
	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	peer_open(&p, &rig);
	peer_settle(&p); /* both have been taken */
	assert_true(control_of(zdbd_port(rig.server), false, name, sizeof(name)));
	assert_string_equal(name, want);
	close(fd);
	peer_close(&p);
	assert_int_equal(zr_stop(&rig), 0);
	zr_teardown(&rig);
}

static void for_its_machine(void **state)
{
	(void)state;
	expect_control("127.0.0.1", "reno");
}

static void for_others(void **state)
{
	char name[32];

	(void)state;
	system_default(name, sizeof(name));
	expect_control("0.0.0.0", name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(for_its_machine),
		cmocka_unit_test(for_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
