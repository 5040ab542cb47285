/*
 * A QEMU TCG plugin that counts executed instructions by address region.
 *
 * A guest marks a point in its execution by `movz xzr, #n`, an instruction that has no effect and
 * that no compiler emits. At each mark, at the first instruction in each region, and when QEMU
 * exits, the plugin writes a line with the counts so far:
 *
 *     mark <n> | first <region> | end   <count of region 0> <count of region 1> ... <kinds>
 *
 * <kinds> are six counts of system instructions in one region: MSR, MRS, ISB, DSB, TLBI and ERET.
 *
 * Arguments: out=FILE, region=START:END (hexadecimal) once for each region, in order, and
 * kinds=N, the number of the region whose system instructions are counted. Instructions outside of
 * all regions are not counted. Each vCPU has counts of its own: a mark shows those of the vCPU
 * that executed it, and the other lines show those of vCPU 0.
 *
 * Debian has no package with the header for plugins. This file therefore declares the functions
 * that it uses (version 4 of the interface, QEMU 9.2 and later).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translate_fn)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*execute_fn)(unsigned int vcpu, void *data);
typedef void (*exit_fn)(qemu_plugin_id_t, void *data);
enum { CB_NO_REGS = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translate_fn);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, execute_fn, int flags, void *data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, exit_fn, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *to, size_t size);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 4;
EXPORT int qemu_plugin_install(qemu_plugin_id_t, const qemu_info_t *, int, char **);

#define MAX_REGIONS 16
#define MAX_VCPUS 16
static struct region {
	uint64_t start, end;
	/* One count for each vCPU, which only that vCPU changes. */
	uint64_t count[MAX_VCPUS];
} regions[MAX_REGIONS];
static size_t region_count;
static struct region *counted_by_kind;
static FILE *out;

/* Encodings of system instructions (Arm ARM C4.1.95): the bits in `mask` are equal to `value`. */
#define MAX_ENCODINGS 3
static struct kind {
	struct { uint32_t mask, value; } encodings[MAX_ENCODINGS];
	uint64_t count[MAX_VCPUS];
} kinds[] = {
	/* MSR (register), MSR (immediate) */
	{ .encodings = { { 0xfff00000, 0xd5100000 }, { 0xfff8f01f, 0xd500401f } } },
	/* MRS */
	{ .encodings = { { 0xfff00000, 0xd5300000 } } },
	/* ISB */
	{ .encodings = { { 0xfffff0ff, 0xd50330df } } },
	/* DSB, DSB nXS */
	{ .encodings = { { 0xfffff0ff, 0xd503309f }, { 0xfffff3ff, 0xd503323f } } },
	/* TLBI, TLBI nXS: SYS with CRn 8 and 9 */
	{ .encodings = { { 0xfff8f000, 0xd5088000 }, { 0xfff8f000, 0xd5089000 } } },
	/* ERET, ERETAA, ERETAB */
	{ .encodings = { { 0xffffffff, 0xd69f03e0 }, { 0xfffffbff, 0xd69f0bff } } },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void write_counts(unsigned int vcpu)
{
	for (size_t i = 0; i < region_count; i++)
		fprintf(out, " %llu", (unsigned long long)regions[i].count[vcpu]);
	for (size_t i = 0; i < KINDS; i++)
		fprintf(out, " %llu", (unsigned long long)kinds[i].count[vcpu]);
	fputc('\n', out);
}

static void on_instruction(unsigned int vcpu, void *data)
{
	struct region *region = data;

	if (vcpu >= MAX_VCPUS)
		return;
	if (vcpu == 0 && region->count[vcpu] == 0) {
		fprintf(out, "first %d", (int)(region - regions));
		write_counts(vcpu);
	}
	region->count[vcpu]++;
}

static void on_kind(unsigned int vcpu, void *data)
{
	struct kind *kind = data;

	if (vcpu < MAX_VCPUS)
		kind->count[vcpu]++;
}

static void on_mark(unsigned int vcpu, void *data)
{
	if (vcpu >= MAX_VCPUS)
		return;
	fprintf(out, "mark %d", (int)(uintptr_t)data);
	write_counts(vcpu);
}

static void on_exit_of_qemu(qemu_plugin_id_t id, void *data)
{
	fputs("end", out);
	write_counts(0);
	fclose(out);
}

static struct region *find(uint64_t address)
{
	for (size_t i = 0; i < region_count; i++)
		if (address >= regions[i].start && address < regions[i].end)
			return &regions[i];
	return NULL;
}

static struct kind *kind_of(uint32_t code)
{
	for (size_t i = 0; i < KINDS; i++)
		for (size_t j = 0; j < MAX_ENCODINGS; j++) {
			uint32_t mask = kinds[i].encodings[j].mask;

			if (mask != 0 && (code & mask) == kinds[i].encodings[j].value)
				return &kinds[i];
		}
	return NULL;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
	size_t count = qemu_plugin_tb_n_insns(block);

	for (size_t i = 0; i < count; i++) {
		struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
		struct region *region = find(qemu_plugin_insn_vaddr(instruction));
		uint32_t code = 0;

		if (region == NULL)
			continue;
		qemu_plugin_insn_data(instruction, &code, sizeof(code));
		if ((code & 0xffe0001f) == 0xd280001f)
			qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_mark, CB_NO_REGS,
							       (void *)(uintptr_t)((code >> 5) & 0xffff));
		if (region == counted_by_kind && kind_of(code) != NULL)
			qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_kind, CB_NO_REGS,
							       kind_of(code));
		qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_instruction, CB_NO_REGS, region);
	}
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		struct region *region = &regions[region_count];
		unsigned long long start, end;
		unsigned int number;

		if (strncmp(argv[i], "out=", 4) == 0) {
			out = fopen(argv[i] + 4, "w");
		} else if (region_count < MAX_REGIONS && sscanf(argv[i], "region=%llx:%llx", &start, &end) == 2) {
			region->start = start;
			region->end = end;
			region_count++;
		} else if (sscanf(argv[i], "kinds=%u", &number) == 1 && number < MAX_REGIONS) {
			counted_by_kind = &regions[number];
		} else {
			fprintf(stderr, "insn-count: bad argument %s\n", argv[i]);
			return -1;
		}
	}
	if (out == NULL) {
		fputs("insn-count: cannot write the counts\n", stderr);
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
	return 0;
}
