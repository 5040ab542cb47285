/** @file
  NOR flash with the command set of Intel (CFI 1), as QEMU virt has it: two chips of 16 bits side by
  side, in blocks of 256 KiB.
**/

#ifndef NOR_FLASH_H_
#define NOR_FLASH_H_

#include <Uefi/UefiBaseType.h>

#define NOR_BLOCK_SIZE  SIZE_256KB

/**
  Erases a block: all bits become 1.

  @param[in] Block  Address of the block.

  @retval EFI_DEVICE_ERROR  The flash reports an error, or never finishes.
**/
EFI_STATUS
NorErase (
  IN UINTN  Block
  );

/**
  Programs bytes. A bit can become 0, but not 1.

  @param[in] Address  Address of the first byte, with any alignment.
  @param[in] Size     Number of bytes.
  @param[in] Buffer   The bytes.

  @retval EFI_DEVICE_ERROR  The flash reports an error, never finishes, or does not hold the bytes.
**/
EFI_STATUS
NorProgram (
  IN UINTN        Address,
  IN UINTN        Size,
  IN CONST UINT8  *Buffer
  );

#endif
