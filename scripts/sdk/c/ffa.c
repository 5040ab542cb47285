/*
 * The functions of ffa.h. SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ffa.h"

#define VERSION_1_2		0x00010002u
/* The permission of a borrower: to read. */
#define READ_ONLY		1u
/* The place of the first access descriptor in a memory transaction descriptor, and its size. */
#define ACCESS			48u
#define ACCESS_SIZE		32u

static uint8_t tx[FFA_PAGE_SIZE] __attribute__((aligned(FFA_PAGE_SIZE)));
static volatile uint8_t rx[FFA_PAGE_SIZE] __attribute__((aligned(FFA_PAGE_SIZE)));
static uint16_t own_id;

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
	call(registers, FFA_RXTX_MAP_64, (uintptr_t)tx, (uintptr_t)rx, 1);
	return result(registers) == FFA_OK ? own_id : (int32_t)result(registers);
}

void ffa_serve(const struct ffa_message *reply, struct ffa_message *request)
{
	uint64_t registers[18] = { FFA_MSG_WAIT };

	if (reply) {
		registers[0] = FFA_MSG_SEND_DIRECT_RESP_64;
		registers[1] = (uint64_t)own_id << 16 | reply->sender;
		memcpy(&registers[3], reply->words, sizeof(reply->words));
	}
	ffa_smc(registers);
	/* FFA_INTERRUPT and FFA_RUN bring cycles and no message. */
	while ((uint32_t)registers[0] != FFA_MSG_SEND_DIRECT_REQ_64) {
		if (result(registers) != FFA_OK)
			ffa_abort();
		call(registers, FFA_MSG_WAIT, 0, 0, 0);
	}
	request->sender = (uint16_t)(registers[1] >> 16);
	memcpy(request->words, &registers[3], sizeof(request->words));
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
