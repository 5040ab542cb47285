/*
 * A Secure Partition: it prints, answers a greeting, and reads a page that the sender shares.
 */
#include "ffa.h"

/* The operations, in the first word of a message, as `--normal-world ping` sends them: "hello" and
 * "page". */
#define GREETING	0x6f6c6c6568u
#define PAGE		0x65676170u

/* Borrows a page, prints the text in it, gives the page back, and returns the sum of the bytes. */
static enum ffa_error read_page(uint16_t owner, uint64_t handle, uint64_t length, uint64_t *sum)
{
	char text[256] = "";
	struct ffa_region page;
	enum ffa_error error = ffa_retrieve(owner, handle, &page);

	if (error != FFA_OK)
		return error;
	if (length >= sizeof(text) || length > page.length) {
		ffa_relinquish(handle);
		return FFA_INVALID_PARAMETERS;
	}
	*sum = 0;
	for (uint64_t n = 0; n < length; n++) {
		text[n] = (char)page.start[n];
		*sum += (uint8_t)text[n];
	}
	ffa_print("the page says: ");
	ffa_print(text);
	ffa_print("\n");
	return ffa_relinquish(handle);
}

void partition_main(void)
{
	struct ffa_message message, *reply = NULL;
	int32_t id = ffa_start();

	if (id < 0)
		ffa_abort();
	ffa_print("partition ");
	ffa_print_hex((uint64_t)id);
	ffa_print(" is ready\n");

	for (;;) {
		ffa_serve(reply, &message);
		/* The answer goes to the sender, in place of the request. */
		reply = &message;
		switch (message.words[0]) {
		case GREETING:
			ffa_print("greeting from ");
			ffa_print_hex(message.sender);
			ffa_print("\n");
			/* The 1 says that this partition knows the operation PAGE. */
			message.words[1] = 1;
			break;
		case PAGE:
			if (read_page(message.sender, message.words[1], message.words[2],
				      &message.words[1]) != FFA_OK)
				message.words[0] = 0;
			break;
		default:
			ffa_print("no operation\n");
			message.words[0] = 0;
		}
	}
}
