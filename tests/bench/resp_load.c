/*
 * resp_load: large values to or from a redis-protocol server, as fast as it goes, at little cost for the one who asks.
 *
 *	resp_load unix:PATH|PORT CLIENTS COUNT get|set SIZE KEYS
 *
 * Prints requests per second and the processor time that this program took per request, in us. The usual load generator copies
 * each payload twice and is busier than the server when payloads are large: it then measures itself. This one looks at the
 * header of each reply, which it reads alone, and at all bytes of one in 64; the kernel drops the rest (TCP), or moves it nowhere without a copy (unix socket). The body of a
 * value that is SET goes into the socket without a copy (sendfile); its first digits differ each time, so that nobody can find it unchanged. One
 * thread, which never waits for one client; one request at a time per client.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 1000u
#define SIZE_MAX_   (8u << 20)
#define STAMP       16u /* decimal digits at the start of a value */
#define KEY         12u /* those of a key */
#define LOOK_EACH   64u
#define PIPE_BYTES  (1 << 20)

struct client {
	int fd;
	char head[128]; /* of the request at hand, with the value's stamp */
	size_t sent;
	char line[100]; /* first line of the reply */
	size_t line_len;
	uint64_t left; /* of the reply behind that line */
	bool in_payload, look;
};

static struct load {
	bool is_tcp, is_set;
	unsigned clients, keys;
	size_t size, first_line; /* of a value; of the header before one */
	size_t head_len, key_at,
		body; /* of every request: the head, the key's digits in it, what follows it */
	uint64_t count, asked, answered, random, first_stamp;
	char *value, *buffer;
	int sink[3]; /* a pipe, and where nothing is kept: for what need not be looked at */
	int body_fd; /* what follows the head of a SET, as the page cache has it */
	struct client client[CLIENTS_MAX];
} L;

static void die(const char *what)
{
	fprintf(stderr, "resp_load: %s: %s\n", what, errno ? strerror(errno) : "not what was asked for");
	exit(1);
}

static double now_s(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int connect_to(const char *where)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1, fd = socket(L.is_tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	if (L.is_tcp) {
		in.sin_port = htons((uint16_t)atoi(where));
		rc = connect(fd, (struct sockaddr *)&in, sizeof(in));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	} else {
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", where + strlen("unix:"));
		rc = connect(fd, (struct sockaddr *)&un, sizeof(un));
	}
	if (fd < 0 || rc < 0 || fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		die(where);
	return fd;
}

static void put_digits(char *at, unsigned count, uint64_t n)
{
	while (count-- > 0) {
		at[count] = (char)('0' + n % 10);
		n /= 10;
	}
}

static void next_request(struct client *c)
{
	unsigned key;

	L.random = L.random * 6364136223846793005u + 1442695040888963407u;
	/* the first SETs give every key a value */
	key = (unsigned)((L.is_set && L.asked < L.keys ? L.asked : L.random >> 33) % L.keys);
	c->sent = 0;
	c->line_len = 0;
	c->in_payload = false;
	c->look = L.asked % LOOK_EACH == 0;
	put_digits(c->head + L.key_at, KEY, key);
	if (L.is_set)
		put_digits(c->head + L.head_len - STAMP, STAMP, L.first_stamp + L.asked);
	L.asked++;
}

/* What comes next of the request: its head, then the rest of the value. */
static ssize_t send_part(const struct client *c)
{
	off_t off;

	if (c->sent < L.head_len)
		return send(c->fd, c->head + c->sent, L.head_len - c->sent,
			    MSG_NOSIGNAL | (L.is_set ? MSG_MORE : 0));
	off = (off_t)(c->sent - L.head_len);
	return sendfile(c->fd, L.body_fd, &off, L.body - (size_t)off);
}

static void send_some(struct client *c)
{
	while (c->sent < L.head_len + L.body) {
		ssize_t n = send_part(c);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			die("send");
		c->sent += (size_t)n;
	}
}

/* A whole first line: how many bytes follow it. */
static void line_ended(struct client *c)
{
	errno = 0;
	if (c->line[0] == '$' && (c->line[1] >= '0' && c->line[1] <= '9'))
		c->left = (uint64_t)atoll(c->line + 1) + 2;
	else if (c->line[0] == '+' && L.is_set)
		c->left = 0;
	else
		die(strtok(c->line, "\r\n"));
	if (!L.is_set && c->left != L.size + 2)
		die("length of the reply");
	c->in_payload = true;
}

static size_t take_line(struct client *c, const char *b, size_t n)
{
	size_t i = 0;

	while (i < n && !c->in_payload) {
		if (c->line_len == sizeof(c->line) - 1)
			die("reply");
		c->line[c->line_len++] = b[i];
		if (b[i++] == '\n')
			line_ended(c);
	}
	return i;
}

static void look_at(const struct client *c, const char *b, size_t n)
{
	size_t at = L.size + 2 - c->left, skip = at < STAMP ? STAMP - at : 0;

	errno = 0;
	if (n > skip && memcmp(b + skip, L.value + at + skip, n - skip) != 0)
		die("payload");
}

static void take_payload(struct client *c, const char *b, size_t n)
{
	if (c->look && b != NULL && !L.is_set)
		look_at(c, b, n);
	c->left -= n;
}

/* How much to read at once: the header of a payload alone, so that the rest can be dropped. */
static size_t room_wanted(const struct client *c)
{
	if (c->in_payload)
		return c->left;
	return !L.is_set && c->line_len < L.first_line ? L.first_line - c->line_len : sizeof(c->line);
}

/* Of the rest of a payload what is there, unseen: bytes, or -1. */
static ssize_t drop_some(const struct client *c)
{
	ssize_t n, gone = 0;

	if (L.is_tcp)
		return recv(c->fd, NULL, c->left, MSG_DONTWAIT | MSG_TRUNC);
	n = splice(c->fd, NULL, L.sink[1], NULL, c->left, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	while (gone < n) {
		ssize_t part = splice(L.sink[0], NULL, L.sink[2], NULL, (size_t)(n - gone), SPLICE_F_MOVE);

		if (part <= 0)
			die("splice");
		gone += part;
	}
	return n;
}

/* What is there of the reply.  False: nothing for now. */
static bool receive(struct client *c)
{
	bool drop = c->in_payload && !c->look && c->left > 2;
	ssize_t n = drop ? drop_some(c) : recv(c->fd, L.buffer, room_wanted(c), MSG_DONTWAIT);
	size_t used;

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0)
		die("receive");
	used = c->in_payload ? 0 : take_line(c, L.buffer, (size_t)n);
	if (c->in_payload)
		take_payload(c, drop ? NULL : L.buffer + used, (size_t)n - used);
	if (c->in_payload && c->left == 0) {
		L.answered++;
		if (L.asked < L.count) {
			next_request(c);
			send_some(c);
		}
	}
	return true;
}

/* All requests differ in their digits only. */
static void prepare(const char *where)
{
	char head[128];

	L.head_len = L.is_set ? (size_t)snprintf(head, sizeof(head),
						 "*3\r\n$3\r\nSET\r\n$%u\r\nkey:%0*u\r\n$%zu\r\n%0*u",
						 KEY + 4, (int)KEY, 0, L.size, (int)STAMP, 0)
			      : (size_t)snprintf(head, sizeof(head), "*2\r\n$3\r\nGET\r\n$%u\r\nkey:%0*u\r\n",
						 KEY + 4, (int)KEY, 0);
	L.key_at = (size_t)(strstr(head, "key:") - head) + 4;
	L.body = L.is_set ? L.size - STAMP + 2 : 0;
	L.first_line = (size_t)snprintf(NULL, 0, "$%zu\r\n", L.size);
	L.value = malloc(L.size + 2);
	L.buffer = malloc(SIZE_MAX_);
	L.sink[2] = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (L.sink[2] < 0 || pipe2(L.sink, O_CLOEXEC) < 0)
		die("pipe");
	(void)fcntl(L.sink[1], F_SETPIPE_SZ, PIPE_BYTES); /* else in more pieces */
	L.body_fd = memfd_create("body", MFD_CLOEXEC);
	if (!L.value || !L.buffer || L.body_fd < 0)
		die("memory");
	memset(L.value, 'x', L.size);
	memcpy(L.value + L.size, "\r\n", 2);
	if (L.is_set && write(L.body_fd, L.value + STAMP, L.body) != (ssize_t)L.body)
		die("memory");
	for (unsigned i = 0; i < L.clients; i++) {
		memcpy(L.client[i].head, head, sizeof(head));
		L.client[i].fd = connect_to(where);
	}
}

static void run(void)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[64];

	for (unsigned i = 0; i < L.clients; i++) {
		struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &L.client[i]};

		if (epoll_ctl(ep, EPOLL_CTL_ADD, L.client[i].fd, &e) < 0)
			die("epoll");
		next_request(&L.client[i]);
		send_some(&L.client[i]);
	}
	while (L.answered < L.count) {
		int n = epoll_wait(ep, events, 64, 10000);

		if (n == 0)
			die("no answer for ten seconds");
		for (int i = 0; i < n; i++) {
			struct client *c = events[i].data.ptr;

			if (events[i].events & EPOLLOUT)
				send_some(c);
			while (L.answered < L.count && receive(c))
				;
		}
	}
	close(ep);
}

int main(int argc, char **argv)
{
	double begin, cpu;

	if (argc != 7) {
		fprintf(stderr, "usage: resp_load unix:PATH|PORT CLIENTS COUNT get|set SIZE KEYS\n");
		return 2;
	}
	L.is_tcp = strncmp(argv[1], "unix:", 5) != 0;
	L.clients = (unsigned)atoi(argv[2]);
	L.count = (uint64_t)atoll(argv[3]);
	L.is_set = strcmp(argv[4], "set") == 0;
	L.size = (size_t)atoll(argv[5]);
	L.keys = (unsigned)atoi(argv[6]);
	L.first_stamp = (uint64_t)(now_s(CLOCK_REALTIME) * 1e6); /* another run's values are other ones */
	L.random = L.first_stamp;
	if (L.clients == 0 || L.clients > CLIENTS_MAX || L.count < L.clients || L.size < STAMP ||
	    L.size > SIZE_MAX_ || L.keys == 0) {
		fprintf(stderr, "resp_load: 1 to %u clients, each with a request; values of %u to %u bytes\n",
			CLIENTS_MAX, STAMP, SIZE_MAX_);
		return 2;
	}
	prepare(argv[1]);
	begin = now_s(CLOCK_MONOTONIC);
	cpu = now_s(CLOCK_PROCESS_CPUTIME_ID);
	run();
	printf("%.0f %.2f\n", (double)L.count / (now_s(CLOCK_MONOTONIC) - begin),
	       (now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e6 / (double)L.count);
	return 0;
}
