/* The one program. Everything is in core/base/applet_dispatch.c. */
#include "core/base/applet.h"

int main(int argc, char **argv)
{
	return applet_dispatch(argc, argv);
}
