/** @file
  The commands of the flash. A command makes the whole chip show its status in place of its contents,
  until it is told to show the contents again.
**/

#include <Library/BaseMemoryLib.h>
#include <Library/IoLib.h>

#include "NorFlash.h"

/// Gives each of the two chips a command, or takes a bit of the status of each.
#define BOTH(Value)  ((UINT32)(Value) << 16 | (UINT32)(Value))

#define READ_ARRAY     BOTH (0xff)
#define CLEAR_STATUS   BOTH (0x50)
#define ERASE          BOTH (0x20)
#define ERASE_CONFIRM  BOTH (0xd0)
#define PROGRAM        BOTH (0x40)

#define READY  BOTH (0x80)
/// Erasing or programming failed, the voltage is too low, or the block is locked.
#define ERRORS  BOTH (0x3a)

/// Reads of the status until the flash counts as broken. No block needs nearly as many.
#define PATIENCE  100000000

/// A word that needs no programming.
#define ERASED  MAX_UINT32

/// Waits for the end of a command at an address.
STATIC
EFI_STATUS
Finish (
  IN UINTN  Address
  )
{
  UINT32  Left;
  UINT32  Status;

  for (Left = PATIENCE; Left > 0; Left--) {
    Status = MmioRead32 (Address);
    if ((Status & READY) == READY) {
      return ((Status & ERRORS) == 0) ? EFI_SUCCESS : EFI_DEVICE_ERROR;
    }
  }

  return EFI_DEVICE_ERROR;
}

/// Returns to the contents of the chip with the given address.
STATIC
VOID
ShowContents (
  IN UINTN  Address
  )
{
  MmioWrite32 (Address, CLEAR_STATUS);
  MmioWrite32 (Address, READ_ARRAY);
}

EFI_STATUS
NorErase (
  IN UINTN  Block
  )
{
  EFI_STATUS  Status;

  MmioWrite32 (Block, ERASE);
  MmioWrite32 (Block, ERASE_CONFIRM);
  Status = Finish (Block);
  ShowContents (Block);
  return Status;
}

EFI_STATUS
NorProgram (
  IN UINTN        Address,
  IN UINTN        Size,
  IN CONST UINT8  *Buffer
  )
{
  EFI_STATUS  Status;
  UINTN       Word;
  UINTN       Skip;
  UINTN       Count;
  UINT32      Value;
  UINTN       Done;

  Status = EFI_SUCCESS;
  for (Done = 0; !EFI_ERROR (Status) && Done < Size; Done += Count) {
    Word  = (Address + Done) & ~(UINTN)3;
    Skip  = Address + Done - Word;
    Count = MIN (sizeof (Value) - Skip, Size - Done);
    // Some flash, and QEMU's, stores the word as it is given: the bytes around must be there.
    Value = ERASED;
    if (Count < sizeof (Value)) {
      ShowContents (Word);
      Value = MmioRead32 (Word);
    }

    CopyMem ((UINT8 *)&Value + Skip, Buffer + Done, Count);
    if (Value == ERASED) {
      continue;
    }

    MmioWrite32 (Word, PROGRAM);
    MmioWrite32 (Word, Value);
    Status = Finish (Word);
  }

  ShowContents (Address & ~(UINTN)3);
  if (!EFI_ERROR (Status) && (CompareMem ((VOID *)Address, Buffer, Size) != 0)) {
    return EFI_DEVICE_ERROR;
  }

  return Status;
}
