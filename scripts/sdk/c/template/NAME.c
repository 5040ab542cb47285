/*
 * A Secure Partition: it prints, answers a greeting, reads a page that the sender shares, and rings
 * back when the sender rings.
 */
#include "ffa.h"

/* The operations, in the first word of a message, as `--normal-world ping` sends them: "hello" and
 * "page". */
#define GREETING	0x6f6c6c6568u
#define PAGE		0x65676170u

/* The answer to a greeting says that the partition knows the operation PAGE, BELL, and requests
 * with 32-bit registers. */
#define KNOWS		7u

/* The notification by which the Normal world rings, and that by which the partition rings back. */
#define BELL		1u
/* The time after which the partition rings back, in microseconds. */
#define DELAY		10000u

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

void partition_notified(const struct ffa_notifications *pending)
{
	ffa_print("notifications ");
	ffa_print_hex(pending->vms);
	ffa_print(" of the Normal world\n");
	ffa_timer_start(DELAY);
}

void partition_interrupt(uint32_t id)
{
	/* Until the timer is stopped, its interrupt comes again. */
	ffa_timer_stop();
	if (ffa_notification_set(FFA_NORMAL_WORLD, BELL) != FFA_OK) {
		ffa_print("the Normal world cannot be notified\n");
		return;
	}
	ffa_print("interrupt ");
	ffa_print_hex(id);
	ffa_print(": the partition rings back\n");
}

void partition_main(void)
{
	struct ffa_message message, *reply = NULL;
	int32_t id = ffa_start();

	if (id < 0 || ffa_notification_bind(FFA_NORMAL_WORLD, BELL) != FFA_OK ||
	    !ffa_interrupt_enable(FFA_TIMER_INTERRUPT, true))
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
			message.words[1] = KNOWS;
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
