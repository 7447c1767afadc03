#include "core/base/kernel.h"

#include <stdio.h>
#include <sys/utsname.h>

bool kernel_release_is(const char *release, unsigned major, unsigned minor)
{
	unsigned have_major, have_minor;

	if (sscanf(release, "%u.%u", &have_major, &have_minor) != 2)
		return false;
	return have_major != major ? have_major > major : have_minor >= minor;
}

bool kernel_is(unsigned major, unsigned minor)
{
	struct utsname name;

	return uname(&name) == 0 && kernel_release_is(name.release, major, minor);
}
