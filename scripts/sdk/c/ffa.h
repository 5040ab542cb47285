/*
 * FF-A 1.2 for a Secure Partition at S-EL1 with one execution context: calls, the console,
 * messages, memory, notifications and interrupts. SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef FFA_H
#define FFA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FFA_ERROR			0x84000060u
#define FFA_SUCCESS_32			0x84000061u
#define FFA_SUCCESS_64			0xc4000061u
#define FFA_INTERRUPT			0x84000062u
#define FFA_VERSION			0x84000063u
#define FFA_FEATURES			0x84000064u
#define FFA_RX_RELEASE			0x84000065u
#define FFA_RXTX_MAP_64			0xc4000066u
#define FFA_ID_GET			0x84000069u
#define FFA_MSG_WAIT			0x8400006bu
#define FFA_RUN				0x8400006du
#define FFA_MSG_SEND_DIRECT_REQ_32	0x8400006fu
#define FFA_MSG_SEND_DIRECT_REQ_64	0xc400006fu
#define FFA_MSG_SEND_DIRECT_RESP_32	0x84000070u
#define FFA_MSG_SEND_DIRECT_RESP_64	0xc4000070u
#define FFA_MEM_RETRIEVE_REQ_32		0x84000074u
#define FFA_MEM_RETRIEVE_RESP		0x84000075u
#define FFA_MEM_RELINQUISH		0x84000076u
#define FFA_NOTIFICATION_BIND		0x8400007fu
#define FFA_NOTIFICATION_UNBIND		0x84000080u
#define FFA_NOTIFICATION_SET		0x84000081u
#define FFA_NOTIFICATION_GET		0x84000082u
#define FFA_CONSOLE_LOG_64		0xc400008au
#define FFA_ABORT			0x84000090u

#define FFA_PAGE_SIZE			4096u

/* The id of the OS or Hypervisor of the Normal world. */
#define FFA_NORMAL_WORLD		0u
/* The interrupt of the partition's timer. */
#define FFA_TIMER_INTERRUPT		3u

/* The codes of FFA_ERROR. */
enum ffa_error {
	FFA_OK = 0,
	FFA_NOT_SUPPORTED = -1,
	FFA_INVALID_PARAMETERS = -2,
	FFA_NO_MEMORY = -3,
	FFA_BUSY = -4,
	FFA_INTERRUPTED = -5,
	FFA_DENIED = -6,
	FFA_RETRY = -7,
	FFA_ABORTED = -8,
	FFA_NO_DATA = -9,
};

/* A direct request, or the response to it: x3 to x7. If the request has 32-bit registers, they are
 * w3 to w7. */
struct ffa_message {
	uint16_t sender;
	uint64_t words[5];
};

/* Memory that another endpoint may change at any time. */
struct ffa_region {
	volatile uint8_t *start;
	size_t length;
};

/* Notifications that were pending, a bit each: those that partitions set, those that VMs set, and
 * those of the framework. */
struct ffa_notifications {
	uint64_t partitions;
	uint64_t vms;
	uint64_t framework;
};

/* Calls with x0 to x17, and stores x0 to x17. */
void ffa_smc(uint64_t registers[18]);

/* Negotiates the version and registers the RX/TX pair. Returns the id of the partition, or an
 * error. */
int32_t ffa_start(void);

/* Waits for a direct request; `reply` answers the last one, NULL answers nothing. Whenever the
 * partition runs again, ffa_serve() calls partition_notified() and partition_interrupt() for what is
 * pending, before it looks at the request. */
void ffa_serve(const struct ffa_message *reply, struct ffa_message *request);

/* Prints text. The SPMC shows whole lines. */
void ffa_print(const char *text);

/* Prints a number with its 0x. */
void ffa_print_hex(uint64_t number);

/* Borrows memory in one range, to read it, and gives it back. The region must not be touched
 * then. */
enum ffa_error ffa_retrieve(uint16_t owner, uint64_t handle, struct ffa_region *region);
enum ffa_error ffa_relinquish(uint64_t handle);

/* Lets `sender` set notifications of this partition, and takes that right back. The manifest must
 * have `notification-support`. */
enum ffa_error ffa_notification_bind(uint16_t sender, uint64_t notifications);
enum ffa_error ffa_notification_unbind(uint16_t sender, uint64_t notifications);

/* Sets notifications that `receiver` has bound to this partition. The scheduler is told of the
 * receiver when this partition waits, answers or is preempted. */
enum ffa_error ffa_notification_set(uint16_t receiver, uint64_t notifications);

/* Takes all notifications that are pending. partition_notified() gets what this did not take. */
enum ffa_error ffa_notification_get(struct ffa_notifications *pending);

/* Enables or disables the interrupt of the timer, or one that a device region of the manifest names.
 * Returns whether the partition has that interrupt. */
bool ffa_interrupt_enable(uint32_t id, bool on);

/* Starts the timer of the partition, which then runs out once, and stops it. */
void ffa_timer_start(uint64_t microseconds);
void ffa_timer_stop(void);

/* Ends the partition. Whoever waits for it gets FFA_ABORTED. */
_Noreturn void ffa_abort(void);

/* What the partition does. */
void partition_main(void);

/* Handles notifications that others set. A partition without notifications need not define this. */
void partition_notified(const struct ffa_notifications *pending);

/* Handles an interrupt, which counts as handled when this returns: by then the device must have
 * lowered its line, or the timer must be stopped. A partition that enables no interrupt need not
 * define this. */
void partition_interrupt(uint32_t id);

#endif
