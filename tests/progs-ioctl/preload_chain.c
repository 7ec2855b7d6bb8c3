// SPDX-License-Identifier: GPL-2.0
/* Another preloaded library that interposes listen(): tells of every call and passes it on. */
#include <dlfcn.h>
#include <stddef.h>
#include <unistd.h>

int listen(int fd, int backlog)
{
	int (*next)(int, int);

	*(void **)&next = dlsym(RTLD_NEXT, "listen");
	if (write(STDOUT_FILENO, "chain\n", 6) != 6)
		return -1;
	return next(fd, backlog);
}
