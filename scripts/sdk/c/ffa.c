/*
 * The functions of ffa.h. SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ffa.h"

#define VERSION_1_2		0x00010002u
/* Hafnium's calls for interrupts; FF-A has none. */
#define INTERRUPT_ENABLE	0xff03u
#define INTERRUPT_GET		0xff04u
#define INTERRUPT_DEACTIVATE	0xff08u
#define NO_INTERRUPT		0xffffffffu
/* The feature of FFA_FEATURES that is the interrupt for notifications. */
#define NOTIFICATION_PENDING	1u
/* The flag of FFA_NOTIFICATION_SET that delays the schedule receiver interrupt, and those of
 * FFA_NOTIFICATION_GET for all senders. */
#define DELAY			2u
#define ALL_SENDERS		15u
/* The permission of a borrower: to read. */
#define READ_ONLY		1u
/* The place of the first access descriptor in a memory transaction descriptor, and its size. */
#define ACCESS			48u
#define ACCESS_SIZE		32u

static uint8_t tx[FFA_PAGE_SIZE] __attribute__((aligned(FFA_PAGE_SIZE)));
static volatile uint8_t rx[FFA_PAGE_SIZE] __attribute__((aligned(FFA_PAGE_SIZE)));
static uint16_t own_id;
/* The interrupt that says that notifications are pending, or NO_INTERRUPT. */
static uint32_t notification_interrupt;
/* The function that answers the last direct request. */
static uint32_t response;

/* The compiler calls these two, whatever its options. */
void *memset(void *to, int byte, size_t length)
{
	for (size_t n = 0; n < length; n++)
		((uint8_t *)to)[n] = (uint8_t)byte;
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t length)
{
	for (size_t n = 0; n < length; n++)
		((uint8_t *)to)[n] = ((const uint8_t *)from)[n];
	return to;
}

/* Calls with x1 to x3; the other registers are zero. */
static void call(uint64_t registers[18], uint32_t function, uint64_t x1, uint64_t x2, uint64_t x3)
{
	memset(registers, 0, 18 * sizeof(registers[0]));
	registers[0] = function;
	registers[1] = x1;
	registers[2] = x2;
	registers[3] = x3;
	ffa_smc(registers);
}

/* Returns the error with which a call completed, or FFA_OK. */
static enum ffa_error result(const uint64_t registers[18])
{
	return (uint32_t)registers[0] == FFA_ERROR ? (enum ffa_error)(int32_t)registers[2] : FFA_OK;
}

int32_t ffa_start(void)
{
	uint64_t registers[18];

	call(registers, FFA_VERSION, VERSION_1_2, 0, 0);
	if ((int32_t)registers[0] < (int32_t)VERSION_1_2)
		return FFA_NOT_SUPPORTED;
	call(registers, FFA_ID_GET, 0, 0, 0);
	if (result(registers) != FFA_OK)
		return result(registers);
	own_id = (uint16_t)registers[2];
	call(registers, FFA_FEATURES, NOTIFICATION_PENDING, 0, 0);
	notification_interrupt = NO_INTERRUPT;
	if (result(registers) == FFA_OK)
		notification_interrupt = (uint32_t)registers[2];
	call(registers, FFA_RXTX_MAP_64, (uintptr_t)tx, (uintptr_t)rx, 1);
	return result(registers) == FFA_OK ? own_id : (int32_t)result(registers);
}

static void serve_interrupts(void)
{
	uint64_t registers[18];
	struct ffa_notifications pending;
	uint32_t id;

	for (;;) {
		call(registers, INTERRUPT_GET, 0, 0, 0);
		id = (uint32_t)registers[0];
		if (id == NO_INTERRUPT)
			return;
		if (id != notification_interrupt)
			partition_interrupt(id);
		else if (ffa_notification_get(&pending) == FFA_OK)
			partition_notified(&pending);
		call(registers, INTERRUPT_DEACTIVATE, id, id, 0);
	}
}

void ffa_serve(const struct ffa_message *reply, struct ffa_message *request)
{
	uint64_t registers[18] = { FFA_MSG_WAIT };

	if (reply) {
		registers[0] = response;
		registers[1] = (uint64_t)own_id << 16 | reply->sender;
		memcpy(&registers[3], reply->words, sizeof(reply->words));
	}
	for (;;) {
		ffa_smc(registers);
		if (result(registers) != FFA_OK)
			ffa_abort();
		serve_interrupts();
		switch ((uint32_t)registers[0]) {
		case FFA_MSG_SEND_DIRECT_REQ_32:
			for (int n = 0; n < 5; n++)
				registers[3 + n] = (uint32_t)registers[3 + n];
			response = FFA_MSG_SEND_DIRECT_RESP_32;
			break;
		case FFA_MSG_SEND_DIRECT_REQ_64:
			response = FFA_MSG_SEND_DIRECT_RESP_64;
			break;
		default:
			/* FFA_INTERRUPT and FFA_RUN bring cycles and no message. */
			memset(registers, 0, sizeof(registers));
			registers[0] = FFA_MSG_WAIT;
			continue;
		}
		request->sender = (uint16_t)(registers[1] >> 16);
		memcpy(request->words, &registers[3], sizeof(request->words));
		return;
	}
}

void ffa_print(const char *text)
{
	while (*text) {
		uint64_t registers[18] = { FFA_CONSOLE_LOG_64 };
		uint8_t *characters = (uint8_t *)&registers[2];
		size_t length = 0;

		while (text[length] && length < 16 * sizeof(registers[0])) {
			characters[length] = (uint8_t)text[length];
			length++;
		}
		registers[1] = length;
		ffa_smc(registers);
		text += length;
	}
}

void ffa_print_hex(uint64_t number)
{
	char text[2 + 16 + 1] = "0x";
	int digits = 1;

	while (digits < 16 && number >> (4 * digits))
		digits++;
	for (int n = 0; n < digits; n++)
		text[2 + n] = "0123456789abcdef"[number >> (4 * (digits - 1 - n)) & 15];
	text[2 + digits] = 0;
	ffa_print(text);
}

static void put(size_t offset, uint64_t value, size_t bytes)
{
	for (size_t n = 0; n < bytes; n++)
		tx[offset + n] = (uint8_t)(value >> (8 * n));
}

static uint64_t get(size_t offset, size_t bytes)
{
	uint64_t value = 0;

	for (size_t n = 0; n < bytes; n++)
		value |= (uint64_t)rx[offset + n] << (8 * n);
	return value;
}

enum ffa_error ffa_retrieve(uint16_t owner, uint64_t handle, struct ffa_region *region)
{
	uint64_t registers[18];
	uint64_t length, composite;

	memset(tx, 0, ACCESS + ACCESS_SIZE);
	put(0, owner, 2);
	put(8, handle, 8);
	put(24, ACCESS_SIZE, 4);
	put(28, 1, 4);
	put(32, ACCESS, 4);
	put(ACCESS, own_id, 2);
	put(ACCESS + 2, READ_ONLY, 1);
	call(registers, FFA_MEM_RETRIEVE_REQ_32, ACCESS + ACCESS_SIZE, ACCESS + ACCESS_SIZE, 0);
	if ((uint32_t)registers[0] != FFA_MEM_RETRIEVE_RESP)
		return result(registers) != FFA_OK ? result(registers) : FFA_NOT_SUPPORTED;
	length = registers[2];
	/* The access descriptor is where its header says, and names the list of ranges: total pages,
	 * their number, and from byte 16 on the ranges. */
	composite = get(32, 4);
	composite = composite + 8 <= length ? get(composite + 4, 4) : length;
	if (length > sizeof(rx) || composite + 32 > length || get(composite + 4, 4) != 1) {
		call(registers, FFA_RX_RELEASE, 0, 0, 0);
		ffa_relinquish(handle);
		return FFA_INVALID_PARAMETERS;
	}
	region->start = (volatile uint8_t *)get(composite + 16, 8);
	region->length = get(composite + 24, 4) * FFA_PAGE_SIZE;
	call(registers, FFA_RX_RELEASE, 0, 0, 0);
	return result(registers);
}

enum ffa_error ffa_relinquish(uint64_t handle)
{
	uint64_t registers[18];

	put(0, handle, 8);
	put(8, 0, 4);
	put(12, 1, 4);
	put(16, own_id, 2);
	call(registers, FFA_MEM_RELINQUISH, 0, 0, 0);
	return result(registers);
}

/* Makes a call with two ids, flags, and a map of notifications in two registers. */
static enum ffa_error on_map(uint32_t function, uint16_t sender, uint16_t receiver, uint32_t flags,
			     uint64_t map)
{
	uint64_t registers[18] = { function, (uint32_t)sender << 16 | receiver, flags,
				   (uint32_t)map, map >> 32 };

	ffa_smc(registers);
	return result(registers);
}

enum ffa_error ffa_notification_bind(uint16_t sender, uint64_t notifications)
{
	return on_map(FFA_NOTIFICATION_BIND, sender, own_id, 0, notifications);
}

enum ffa_error ffa_notification_unbind(uint16_t sender, uint64_t notifications)
{
	return on_map(FFA_NOTIFICATION_UNBIND, sender, own_id, 0, notifications);
}

enum ffa_error ffa_notification_set(uint16_t receiver, uint64_t notifications)
{
	return on_map(FFA_NOTIFICATION_SET, own_id, receiver, DELAY, notifications);
}

enum ffa_error ffa_notification_get(struct ffa_notifications *pending)
{
	uint64_t registers[18];

	call(registers, FFA_NOTIFICATION_GET, own_id, ALL_SENDERS, 0);
	if (result(registers) != FFA_OK)
		return result(registers);
	pending->partitions = registers[3] << 32 | registers[2];
	pending->vms = registers[5] << 32 | registers[4];
	pending->framework = registers[7] << 32 | registers[6];
	return FFA_OK;
}

bool ffa_interrupt_enable(uint32_t id, bool on)
{
	uint64_t registers[18];

	call(registers, INTERRUPT_ENABLE, id, on, 0);
	return registers[0] == 0;
}

void ffa_timer_start(uint64_t microseconds)
{
	uint64_t frequency, now;

	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(frequency));
	__asm__ volatile("isb; mrs %0, cntpct_el0" : "=r"(now));
	now += microseconds / 1000000 * frequency + microseconds % 1000000 * frequency / 1000000;
	__asm__ volatile("msr cntp_cval_el0, %0; msr cntp_ctl_el0, %1; isb"
			 : : "r"(now), "r"((uint64_t)1));
}

void ffa_timer_stop(void)
{
	__asm__ volatile("msr cntp_ctl_el0, xzr; isb");
}

__attribute__((weak)) void partition_notified(const struct ffa_notifications *pending)
{
	(void)pending;
	ffa_print("nobody handles a notification\n");
}

__attribute__((weak)) void partition_interrupt(uint32_t id)
{
	ffa_print("nobody handles interrupt ");
	ffa_print_hex(id);
	ffa_print("\n");
}

void ffa_abort(void)
{
	uint64_t registers[18];

	call(registers, FFA_ABORT, 0, 0, 0);
	for (;;)
		;
}

/* start.S calls this for any exception. */
_Noreturn void ffa_exception(uint64_t elr, uint64_t esr, uint64_t far)
{
	ffa_print("exception at ");
	ffa_print_hex(elr);
	ffa_print(", ESR ");
	ffa_print_hex(esr);
	ffa_print(", FAR ");
	ffa_print_hex(far);
	ffa_print("\n");
	ffa_abort();
}
