/*
 * A QEMU TCG plugin that records the FF-A calls of every instance, so that the image that is
 * traced is the one that ships.
 *
 * At each instruction that carries a call or its result from one exception level to another, the
 * plugin writes a record of WORDS little-endian words of 64 bits:
 *
 *     0       kind [7:0], PE [31:16]
 *     1       instructions that all PEs have executed
 *     2       instructions that this PE has executed
 *     3       how many of these the SPMC has executed
 *     4       the partition: VMID, or ASID of one at S-EL0; of kinds SP_CALL and TO_SP only
 *     5..22   x0 to x17
 *
 * What the SPMC copies from or to memory of others, such as TX and RX buffers, stands in records of
 * kinds FROM_MEMORY and TO_MEMORY, in front of the record of the next passage on that PE:
 *
 *     0       kind [7:0], PE [31:16], number of bytes [63:32]
 *     1       physical address
 *     2..22   the bytes
 *
 * If it is wanted, the plugin also records the SPMC's translation tables: when a call that may change
 * them is over, and from time to time. Records of kind TABLES hold the bytes that have changed, as
 * those of FROM_MEMORY hold bytes. Those of kind ROOTS say where tables begin:
 *
 *     0       kind [7:0], PE [31:16]
 *     1       VMID or ASID of the partition
 *     2       not 0 for a partition at S-EL0
 *     3..     VTTBR_EL2, VSTTBR_EL2, VTCR_EL2, VSTCR_EL2, TTBR0_EL2, TCR_EL2
 *
 * Calls of the Normal world that its Hypervisor traps, and calls that are not of FF-A, are not
 * recorded. Arguments: out=FILE; spmc=START:END (hexadecimal), the memory of the SPMC's image;
 * own=END, the end of all of its memory; copy=START:END, its function that copies; tables=START:END,
 * memory in which it has translation tables, any number of times.
 *
 * With costs=FILE in place of out=FILE, sums are written to the file at the end, as lines:
 *
 *     executed ALL SPMC           instructions of all PEs, and how many of these the SPMC executed
 *     times BOOT FIRST LAST       ms from the start of QEMU: end of the SPMC's boot on a PE, first
 *                                 and last direct request of the Normal world
 *     call ORIGIN FUNCTION COUNT INSTRUCTIONS
 *
 * ORIGIN is the kind of record by which the SPMC was entered, TO_SPMC or SP_CALL, or TO_SP where it
 * was entered from a partition without a call, or TO_NWD for a framework message of EL3; FUNCTION is
 * x0 (hexadecimal), or 0 if that is none of FF-A. INSTRUCTIONS are those of the SPMC until it passes
 * the PE on.
 *
 * times=FILE is like costs=FILE, but hardly slows QEMU down: no instructions are counted, and only
 * the passages between EL3 and the SPMC are seen, so that all sums are 0 except the times and the
 * counts of TO_SPMC and TO_NWD.
 *
 * Debian has no package with the header for plugins. This file therefore declares the functions
 * that it uses (version 4 of the interface, QEMU 9.2 and later).
 */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_hwaddr;
typedef struct {
	int type; /* log2 of the number of bytes */
	union {
		uint64_t u64;
		struct { uint64_t low, high; } u128;
		uint8_t bytes[16];
	} data;
} qemu_plugin_mem_value;
typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_register;
struct qemu_plugin_scoreboard;
typedef struct { struct qemu_plugin_scoreboard *score; size_t offset; } qemu_plugin_u64;
typedef struct { char *data; unsigned int len; } GArray;
typedef struct { uint8_t *data; unsigned int len; } GByteArray;
typedef struct {
	struct qemu_plugin_register *handle;
	const char *name, *feature;
} qemu_plugin_reg_descriptor;
typedef void (*vcpu_fn)(qemu_plugin_id_t, unsigned int vcpu);
typedef void (*translate_fn)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*execute_fn)(unsigned int vcpu, void *data);
typedef void (*access_fn)(unsigned int vcpu, qemu_plugin_meminfo_t, uint64_t address, void *data);
typedef void (*exit_fn)(qemu_plugin_id_t, void *data);
enum { CB_NO_REGS, CB_R_REGS };
enum { LOADS_AND_STORES = 3 };
enum { INLINE_ADD_U64 = 0 };

void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t, vcpu_fn);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translate_fn);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, execute_fn, int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *, int op, qemu_plugin_u64,
							 uint64_t immediate);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, access_fn, int flags, int which, void *data);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);
qemu_plugin_mem_value qemu_plugin_mem_get_value(qemu_plugin_meminfo_t);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t, uint64_t address);
uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, exit_fn, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *to, size_t size);
GArray *qemu_plugin_get_registers(void);
bool qemu_plugin_read_memory_vaddr(uint64_t address, GByteArray *, size_t length);
int qemu_plugin_read_register(struct qemu_plugin_register *, GByteArray *);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size);
uint64_t qemu_plugin_u64_get(qemu_plugin_u64, unsigned int vcpu);
uint64_t qemu_plugin_u64_sum(qemu_plugin_u64);
GByteArray *g_byte_array_new(void);
GByteArray *g_byte_array_set_size(GByteArray *, unsigned int);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 4;
EXPORT int qemu_plugin_install(qemu_plugin_id_t, const qemu_info_t *, int, char **);

/* Kinds of records. */
enum {
	NWD_CALL, /* the Normal world makes a call */
	TO_NWD,   /* EL3 returns to the Normal world */
	TO_SPMC,  /* EL3 enters the SPMC */
	SPMC_OUT, /* the SPMC calls or answers EL3 */
	SP_CALL,  /* a partition makes a call */
	TO_SP,    /* the SPMC enters a partition */
	FROM_MEMORY, /* the SPMC reads memory of others */
	TO_MEMORY,   /* the SPMC writes memory of others */
	TABLES,      /* bytes of translation tables */
	ROOTS,       /* where the tables of a partition begin */
};

/* The instructions that carry calls, from A64. */
enum { SVC, HVC, SMC, ERET };

/* The registers that are read: x0 to x17, then these. */
#define ARGUMENTS 18
enum {
	CPSR = ARGUMENTS, SCR_EL3, HCR_EL2, SPSR_EL2, SPSR_EL3, VTTBR_EL2, VSTTBR_EL2, VTCR_EL2, VSTCR_EL2,
	TTBR0_EL2, TCR_EL2, REGISTERS
};
static const char *const names[REGISTERS] = {
	"x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14",
	"x15", "x16", "x17", "cpsr", "SCR_EL3", "HCR_EL2", "SPSR_EL2", "SPSR_EL3", "VTTBR_EL2",
	"VSTTBR_EL2", "VTCR_EL2", "VSTCR_EL2", "TTBR0_EL2", "TCR_EL2",
};

#define SCR_NS 1u
#define HCR_TSC (1u << 19)
#define HCR_TGE (1u << 27)
/* Both are of M[3:2] of a PSTATE: the exception level. */
#define LEVEL(state) ((state) >> 2 & 3)
#define TAG(base) ((base) >> 48)

#define WORDS (5 + ARGUMENTS)

/* Bytes that the SPMC copies, under collection: one run of addresses in one direction. */
struct copied {
	int kind;
	uint64_t address;
	uint32_t length;
	uint8_t bytes[(WORDS - 2) * 8];
};

#define MAX_VCPUS 512
static struct vcpu {
	/* The one that loads fill, and the one that stores fill. */
	struct copied copied[2];
	struct qemu_plugin_register *handles[REGISTERS];
	GByteArray *bytes;
	/* The Normal world waits for the end of a call of FF-A. */
	bool in_call;
	/* For sums: how the SPMC was entered, and its instructions up to the last passage. */
	int cause;
	uint32_t function;
	uint64_t accounted;
	/* The SPMC works for a call that may change tables. */
	bool changes;
} vcpus[MAX_VCPUS];

/* Sums of calls. */
#define MAX_COSTS 256
static struct cost {
	bool is_used;
	int origin;
	uint32_t function;
	uint64_t count, instructions;
} costs[MAX_COSTS];
static bool sums;
/* Instructions are counted, and all passages are seen. */
static bool counts = true;
enum { BOOT, FIRST, LAST, TIMES };
static uint64_t began, times[TIMES];
/* After it entered a partition the SPMC still executes ERET. */
#define FEW 2

/* Instructions of each PE, and those of the SPMC. */
struct count { uint64_t all, spmc; };
static qemu_plugin_u64 executed, by_spmc;
static uint64_t spmc_start, spmc_end, own_end, copy_start, copy_end;

/* Memory with tables, as it was last recorded. */
#define MAX_REGIONS 4
#define PAGE 4096
static struct region { uint64_t start, end; uint8_t *bytes; } regions[MAX_REGIONS];
static int region_count;
/* Tables are recorded after so many instructions, even if no call changes them. */
#define INTERVAL 50000000
static uint64_t next_snapshot;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *out;

static uint64_t get(struct vcpu *vcpu, int number)
{
	uint64_t value = 0;

	if (vcpu->handles[number] == NULL)
		return 0;
	g_byte_array_set_size(vcpu->bytes, 0);
	qemu_plugin_read_register(vcpu->handles[number], vcpu->bytes);
	memcpy(&value, vcpu->bytes->data, vcpu->bytes->len < 8 ? vcpu->bytes->len : 8);
	return value;
}

/* 32- and 64-bit functions 0x60 to 0xef of the standard secure services, as the FF-A of the future has them. */
static bool is_ffa(uint64_t x0)
{
	uint32_t function = (uint32_t)x0 & ~(1u << 30 | 1u << 16);

	return function >= 0x84000060 && function <= 0x840000ef;
}

/* Writes the bytes that were collected, if there are any. */
static void write_copied(unsigned int index, struct copied *copied)
{
	uint64_t words[WORDS] = { (uint64_t)copied->length << 32 | index << 16 | copied->kind, copied->address };

	if (copied->length == 0)
		return;
	memcpy(words + 2, copied->bytes, copied->length);
	copied->length = 0;
	pthread_mutex_lock(&lock);
	fwrite(words, sizeof(words), 1, out);
	pthread_mutex_unlock(&lock);
}

/* An access of the function that copies. The SPMC's own memory is no news. */
static void on_access(unsigned int index, qemu_plugin_meminfo_t access, uint64_t virtual, void *data)
{
	bool is_store = qemu_plugin_mem_is_store(access);
	struct qemu_plugin_hwaddr *place = qemu_plugin_get_hwaddr(access, virtual);
	qemu_plugin_mem_value value = qemu_plugin_mem_get_value(access);
	uint32_t size = 1u << value.type;
	struct copied *copied;
	uint64_t address;

	if (index >= MAX_VCPUS || place == NULL)
		return;
	address = qemu_plugin_hwaddr_phys_addr(place);
	if (address >= spmc_start && address < own_end)
		return;
	copied = &vcpus[index].copied[is_store];
	if (address != copied->address + copied->length || copied->length + size > sizeof(copied->bytes))
		write_copied(index, copied);
	if (copied->length == 0) {
		copied->kind = is_store ? TO_MEMORY : FROM_MEMORY;
		copied->address = address;
	}
	memcpy(copied->bytes + copied->length, value.data.bytes, size);
	copied->length += size;
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Returns the sum for calls of a kind. All that do not fit are summed in the last one. */
static struct cost *cost_of(int origin, uint32_t function)
{
	struct cost *cost = costs;

	while (cost < &costs[MAX_COSTS - 1] && cost->is_used &&
	       (cost->origin != origin || cost->function != function))
		cost++;
	cost->is_used = true;
	cost->origin = origin;
	cost->function = function;
	return cost;
}

#define MSG_WAIT 0x8400006b

/* Direct requests, of both kinds and widths. */
static bool is_request(uint32_t function)
{
	return (function & ~(1u << 30)) == 0x8400006f || function == 0xc400008d;
}

/* Adds what the SPMC has executed since the last passage to the call for which it was entered. */
static void add_costs(unsigned int index, int kind)
{
	struct vcpu *vcpu = &vcpus[index];
	uint64_t spmc = qemu_plugin_u64_get(by_spmc, index), x0 = get(vcpu, 0);
	uint32_t function = is_ffa(x0) ? (uint32_t)x0 : 0;

	pthread_mutex_lock(&lock);
	if (vcpu->cause == TO_SP && spmc - vcpu->accounted > FEW && kind != SP_CALL)
		cost_of(TO_SP, 0)->count++;
	if (vcpu->cause != NWD_CALL)
		cost_of(vcpu->cause, vcpu->function)->instructions += spmc - vcpu->accounted;
	vcpu->accounted = spmc;
	if (kind == TO_SPMC || kind == SP_CALL) {
		/* EL3 sends framework messages as direct requests from a Secure id. */
		bool is_el3s = kind == TO_SPMC && is_request(function) && (uint32_t)get(vcpu, 1) >> 31;

		vcpu->cause = is_el3s ? TO_NWD : kind;
		vcpu->function = function;
		cost_of(vcpu->cause, function)->count++;
	} else if (kind == TO_SP) {
		vcpu->cause = TO_SP;
		vcpu->function = 0;
	}
	if (kind == SPMC_OUT && function == MSG_WAIT && times[BOOT] == 0)
		times[BOOT] = now() - began;
	if (kind == TO_SPMC && is_request(function) && vcpu->cause == TO_SPMC) {
		times[LAST] = now() - began;
		if (times[FIRST] == 0)
			times[FIRST] = times[LAST];
	}
	pthread_mutex_unlock(&lock);
}

/* Returns whether a call may change who has which memory. */
static bool may_change(uint64_t x0)
{
	uint32_t number = (uint32_t)x0 & 0xff;

	/* RXTX_MAP and _UNMAP, from MEM_DONATE to MEM_FRAG_TX, MEM_PERM_SET */
	return is_ffa(x0) && (number == 0x66 || number == 0x67 || (number >= 0x71 && number <= 0x7b) || number == 0x89);
}

/* Writes bytes of tables, from `address` on. */
static void write_tables(uint64_t address, const uint8_t *bytes, uint32_t length)
{
	uint64_t words[WORDS] = { (uint64_t)length << 32 | TABLES, address };

	memcpy(words + 2, bytes, length);
	fwrite(words, sizeof(words), 1, out);
}

/*
 * Records what has changed in the tables, if that is due and they are mapped: the SPMC has given up
 * its own map when it enters a partition at S-EL0. The SPMC maps its memory to itself.
 */
static void snapshot(struct vcpu *vcpu)
{
	const uint32_t piece = 128;
	uint64_t time = qemu_plugin_u64_sum(executed);

	if (region_count == 0 || !(vcpu->changes || time >= next_snapshot))
		return;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < region_count; i++) {
		struct region *region = &regions[i];

		for (uint64_t page = region->start; page < region->end; page += PAGE) {
			uint8_t *old = region->bytes + (page - region->start);

			if (!qemu_plugin_read_memory_vaddr(page, vcpu->bytes, PAGE))
				continue;
			vcpu->changes = false;
			next_snapshot = time + INTERVAL;
			for (uint32_t at = 0; at < PAGE; at += piece) {
				if (memcmp(old + at, vcpu->bytes->data + at, piece) == 0)
					continue;
				memcpy(old + at, vcpu->bytes->data + at, piece);
				write_tables(page + at, old + at, piece);
			}
		}
	}
	pthread_mutex_unlock(&lock);
}

/* Records where the tables of the partition are that is about to run, if that is new. */
static void record_roots(unsigned int index, uint64_t tag)
{
	static const int registers[] = { VTTBR_EL2, VSTTBR_EL2, VTCR_EL2, VSTCR_EL2, TTBR0_EL2, TCR_EL2 };
	static uint64_t known[1 << 16];
	struct vcpu *vcpu = &vcpus[index];
	uint64_t is_el0 = get(vcpu, HCR_EL2) & HCR_TGE;
	uint64_t root = get(vcpu, is_el0 ? TTBR0_EL2 : VSTTBR_EL2);
	uint64_t words[WORDS] = { (uint64_t)index << 16 | ROOTS, tag, is_el0 };

	if (region_count == 0 || known[tag] == root)
		return;
	known[tag] = root;
	for (int i = 0; i < 6; i++)
		words[3 + i] = get(vcpu, registers[i]);
	pthread_mutex_lock(&lock);
	fwrite(words, sizeof(words), 1, out);
	pthread_mutex_unlock(&lock);
}

static void record(unsigned int index, int kind, uint64_t tag)
{
	struct vcpu *vcpu = &vcpus[index];
	uint64_t words[WORDS];

	if (sums) {
		add_costs(index, kind);
		return;
	}
	for (int i = 0; i < 2; i++)
		write_copied(index, &vcpu->copied[i]);
	if (kind == SP_CALL || kind == NWD_CALL)
		vcpu->changes |= may_change(get(vcpu, 0));
	if (kind == TO_SP)
		record_roots(index, tag);
	if (kind == TO_SP || kind == SPMC_OUT)
		snapshot(vcpu);
	words[0] = (uint64_t)index << 16 | kind;
	words[2] = qemu_plugin_u64_get(executed, index);
	words[3] = qemu_plugin_u64_get(by_spmc, index);
	words[4] = tag;
	for (int i = 0; i < ARGUMENTS; i++)
		words[5 + i] = get(vcpu, i);
	pthread_mutex_lock(&lock);
	words[1] = qemu_plugin_u64_sum(executed);
	fwrite(words, sizeof(words), 1, out);
	pthread_mutex_unlock(&lock);
}

/* The VMID of a partition at S-EL1, or the ASID of one at S-EL0, under which there is no S-EL1. */
static uint64_t tag_of_partition(struct vcpu *vcpu)
{
	return TAG(get(vcpu, get(vcpu, HCR_EL2) & HCR_TGE ? TTBR0_EL2 : VTTBR_EL2));
}

static void on_return(unsigned int index)
{
	struct vcpu *vcpu = &vcpus[index];
	int level = LEVEL(get(vcpu, CPSR));
	bool secure;

	if (level < 2)
		return;
	secure = !(get(vcpu, SCR_EL3) & SCR_NS);
	if (level == 2 && secure) {
		if (LEVEL(get(vcpu, SPSR_EL2)) < 2)
			record(index, TO_SP, tag_of_partition(vcpu));
	} else if (level == 3 && secure) {
		if (LEVEL(get(vcpu, SPSR_EL3)) == 2)
			record(index, TO_SPMC, 0);
	} else if (level == 3 && vcpu->in_call) {
		vcpu->in_call = false;
		record(index, TO_NWD, 0);
	}
}

static void on_call(unsigned int index, int instruction)
{
	struct vcpu *vcpu = &vcpus[index];
	int level = LEVEL(get(vcpu, CPSR));
	bool secure = !(get(vcpu, SCR_EL3) & SCR_NS);
	uint64_t trapped = get(vcpu, HCR_EL2);

	if (level == 3 || (level == 2 && instruction != SMC))
		return;
	if (level == 2 && secure) {
		record(index, SPMC_OUT, 0);
	} else if (secure) {
		/* SVC of an application under a partition at S-EL1 is no call of the SPMC. */
		bool to_spmc = level == 0 ? instruction == SVC && trapped & HCR_TGE : instruction != SVC;

		if (to_spmc && is_ffa(get(vcpu, 0)))
			record(index, SP_CALL, tag_of_partition(vcpu));
	} else if (instruction == SMC && !(level == 1 && trapped & HCR_TSC) && is_ffa(get(vcpu, 0))) {
		vcpu->in_call = true;
		record(index, NWD_CALL, 0);
	}
}

static void on_instruction(unsigned int index, void *data)
{
	int instruction = (int)(uintptr_t)data;

	if (index >= MAX_VCPUS)
		return;
	if (instruction == ERET)
		on_return(index);
	else
		on_call(index, instruction);
}

/* Returns which of the instructions above `code` is, or -1. */
static int instruction_of(uint32_t code)
{
	switch (code & 0xffe0001f) {
	case 0xd4000001:
		return SVC;
	case 0xd4000002:
		return HVC;
	case 0xd4000003:
		return SMC;
	}
	/* ERET, ERETAA, ERETAB */
	return code == 0xd69f03e0 || (code & 0xfffffbff) == 0xd69f0bff ? ERET : -1;
}

/* Returns whether an instruction passes the PE from EL3 to the SPMC, or back. It may be another ERET. */
static bool may_pass(int instruction, uint64_t address)
{
	bool by_spmc = address >= spmc_start && address < spmc_end;
	/* Kernels have the upper half of addresses, EL3 has the lower one. */
	bool may_be_el3s = !by_spmc && !(address >> 63);

	return instruction == SMC ? by_spmc : instruction == ERET && may_be_el3s;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
	size_t count = qemu_plugin_tb_n_insns(block);

	for (size_t i = 0; i < count; i++) {
		struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
		uint64_t address = qemu_plugin_insn_vaddr(instruction);
		uint32_t code = 0;
		int number;

		qemu_plugin_insn_data(instruction, &code, sizeof(code));
		number = instruction_of(code);
		if (number >= 0 && (counts || may_pass(number, address)))
			qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_instruction, CB_R_REGS,
							       (void *)(uintptr_t)number);
		if (!counts)
			continue;
		qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction, INLINE_ADD_U64, executed, 1);
		if (!sums && address >= copy_start && address < copy_end)
			qemu_plugin_register_vcpu_mem_cb(instruction, on_access, CB_NO_REGS, LOADS_AND_STORES, NULL);
		if (address >= spmc_start && address < spmc_end)
			qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction, INLINE_ADD_U64,
									    by_spmc, 1);
	}
}

static void on_start_of_vcpu(qemu_plugin_id_t id, unsigned int index)
{
	GArray *all = qemu_plugin_get_registers();
	const qemu_plugin_reg_descriptor *found = (const void *)all->data;

	if (index >= MAX_VCPUS)
		return;
	vcpus[index].bytes = g_byte_array_new();
	for (unsigned int i = 0; i < all->len; i++)
		for (int number = 0; number < REGISTERS; number++)
			if (strcmp(found[i].name, names[number]) == 0)
				vcpus[index].handles[number] = found[i].handle;
	for (int number = 0; number < REGISTERS; number++)
		if (vcpus[index].handles[number] == NULL) {
			fprintf(stderr, "ffa-trace: QEMU does not show %s\n", names[number]);
			exit(1);
		}
}

static void on_exit_of_qemu(qemu_plugin_id_t id, void *data)
{
	if (sums) {
		fprintf(out, "executed %llu %llu\n", (unsigned long long)qemu_plugin_u64_sum(executed),
			(unsigned long long)qemu_plugin_u64_sum(by_spmc));
		fprintf(out, "times %llu %llu %llu\n", (unsigned long long)times[BOOT],
			(unsigned long long)times[FIRST], (unsigned long long)times[LAST]);
		for (struct cost *cost = costs; cost < &costs[MAX_COSTS]; cost++)
			if (cost->is_used)
				fprintf(out, "call %d %x %llu %llu\n", cost->origin, cost->function,
					(unsigned long long)cost->count, (unsigned long long)cost->instructions);
	}
	fclose(out);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	struct qemu_plugin_scoreboard *board = qemu_plugin_scoreboard_new(sizeof(struct count));

	began = now();
	executed = (qemu_plugin_u64){ board, offsetof(struct count, all) };
	by_spmc = (qemu_plugin_u64){ board, offsetof(struct count, spmc) };
	for (int i = 0; i < argc; i++) {
		unsigned long long start, end;

		if (strncmp(argv[i], "out=", 4) == 0) {
			out = fopen(argv[i] + 4, "wb");
		} else if (strncmp(argv[i], "costs=", 6) == 0) {
			out = fopen(argv[i] + 6, "w");
			sums = true;
		} else if (strncmp(argv[i], "times=", 6) == 0) {
			out = fopen(argv[i] + 6, "w");
			sums = true;
			counts = false;
		} else if (sscanf(argv[i], "spmc=%llx:%llx", &start, &end) == 2) {
			spmc_start = start;
			spmc_end = end;
		} else if (sscanf(argv[i], "copy=%llx:%llx", &start, &end) == 2) {
			copy_start = start;
			copy_end = end;
		} else if (sscanf(argv[i], "tables=%llx:%llx", &start, &end) == 2 && region_count < MAX_REGIONS) {
			regions[region_count++] = (struct region){ start, end, calloc(1, end - start) };
		} else if (sscanf(argv[i], "own=%llx", &end) == 1) {
			own_end = end;
		} else {
			fprintf(stderr, "ffa-trace: bad argument %s\n", argv[i]);
			return -1;
		}
	}
	if (out == NULL) {
		fputs("ffa-trace: cannot write the records\n", stderr);
		return -1;
	}
	qemu_plugin_register_vcpu_init_cb(id, on_start_of_vcpu);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
	return 0;
}
