/** @file
  The flash as a firmware volume, which the variable service and the fault tolerant writes of
  StandaloneMm work on. A flash without a volume, or with a damaged one, is erased and gets an empty
  volume, so that the system boots; a line on the console says so.
**/

#include <PiMm.h>
#include <Guid/SystemNvDataGuid.h>
#include <Guid/VariableFormat.h>
#include <Library/BaseLib.h>
#include <Library/BaseMemoryLib.h>
#include <Library/MmServicesTableLib.h>
#include <Library/PcdLib.h>
#include <Library/SerialPortLib.h>
#include <Protocol/FirmwareVolumeBlock.h>

#include "NorFlash.h"

/// The blocks of the volume: variables, the journal of fault tolerant writes, and a spare.
#define BLOCKS  3

#define BASE  ((UINTN)FixedPcdGet64 (PcdFlashNvStorageVariableBase64))

STATIC_ASSERT (FixedPcdGet32 (PcdFlashNvStorageVariableSize) == NOR_BLOCK_SIZE, "one block for variables");

#define ATTRIBUTES  (EFI_FVB2_READ_ENABLED_CAP | EFI_FVB2_READ_STATUS | \
                     EFI_FVB2_WRITE_ENABLED_CAP | EFI_FVB2_WRITE_STATUS | \
                     EFI_FVB2_STICKY_WRITE | EFI_FVB2_MEMORY_MAPPED | EFI_FVB2_ERASE_POLARITY)

/// The start of the flash: the headers of the volume and of the store for variables.
typedef struct {
  EFI_FIRMWARE_VOLUME_HEADER    Volume;
  // The volume's header ends with a list of blocks, and the list with zeros.
  EFI_FV_BLOCK_MAP_ENTRY        End;
  VARIABLE_STORE_HEADER         Store;
} HEADERS;

/// Bytes of the headers. The first variable follows at once.
#define HEADERS_SIZE  (OFFSET_OF (HEADERS, Store) + sizeof (VARIABLE_STORE_HEADER))

STATIC
VOID
Say (
  IN CONST CHAR8  *Line
  )
{
  SerialPortWrite ((UINT8 *)Line, AsciiStrLen (Line));
}

/// Makes the headers of an empty volume.
STATIC
VOID
MakeHeaders (
  OUT HEADERS  *Headers
  )
{
  EFI_FIRMWARE_VOLUME_HEADER  *Volume;
  UINTN                       Length;

  ZeroMem (Headers, sizeof (*Headers));
  Volume = &Headers->Volume;
  Length = OFFSET_OF (HEADERS, Store);
  CopyGuid (&Volume->FileSystemGuid, &gEfiSystemNvDataFvGuid);
  Volume->FvLength             = BLOCKS * NOR_BLOCK_SIZE;
  Volume->Signature            = EFI_FVH_SIGNATURE;
  Volume->Attributes           = ATTRIBUTES;
  Volume->HeaderLength         = (UINT16)Length;
  Volume->Revision             = EFI_FVH_REVISION;
  Volume->BlockMap[0].NumBlocks = BLOCKS;
  Volume->BlockMap[0].Length    = NOR_BLOCK_SIZE;
  Volume->Checksum             = CalculateCheckSum16 ((UINT16 *)Volume, Length);

  CopyGuid (&Headers->Store.Signature, &gEfiAuthenticatedVariableGuid);
  Headers->Store.Size   = NOR_BLOCK_SIZE - (UINT32)Length;
  Headers->Store.Format = VARIABLE_STORE_FORMATTED;
  Headers->Store.State  = VARIABLE_STORE_HEALTHY;
}

/// Makes sure that the flash holds a volume.
STATIC
EFI_STATUS
Prepare (
  VOID
  )
{
  HEADERS     Headers;
  EFI_STATUS  Status;
  UINTN       Block;

  MakeHeaders (&Headers);
  if (CompareMem ((VOID *)BASE, &Headers, HEADERS_SIZE) == 0) {
    Say ("flash: the store for variables is intact\r\n");
    return EFI_SUCCESS;
  }

  Say ("flash: no store for variables, or a damaged one: it starts empty\r\n");
  for (Block = 0; Block < BLOCKS; Block++) {
    Status = NorErase (BASE + Block * NOR_BLOCK_SIZE);
    if (EFI_ERROR (Status)) {
      return Status;
    }
  }

  return NorProgram (BASE, HEADERS_SIZE, (UINT8 *)&Headers);
}

STATIC
EFI_STATUS
EFIAPI
GetAttributes (
  IN CONST EFI_FIRMWARE_VOLUME_BLOCK_PROTOCOL  *This,
  OUT EFI_FVB_ATTRIBUTES_2                     *Attributes
  )
{
  *Attributes = ATTRIBUTES;
  return EFI_SUCCESS;
}

STATIC
EFI_STATUS
EFIAPI
SetAttributes (
  IN CONST EFI_FIRMWARE_VOLUME_BLOCK_PROTOCOL  *This,
  IN OUT EFI_FVB_ATTRIBUTES_2                  *Attributes
  )
{
  return EFI_UNSUPPORTED;
}

STATIC
EFI_STATUS
EFIAPI
GetPhysicalAddress (
  IN CONST EFI_FIRMWARE_VOLUME_BLOCK_PROTOCOL  *This,
  OUT EFI_PHYSICAL_ADDRESS                     *Address
  )
{
  *Address = BASE;
  return EFI_SUCCESS;
}

STATIC
EFI_STATUS
EFIAPI
GetBlockSize (
  IN CONST EFI_FIRMWARE_VOLUME_BLOCK_PROTOCOL  *This,
  IN EFI_LBA                                   Lba,
  OUT UINTN                                    *BlockSize,
  OUT UINTN                                    *NumberOfBlocks
  )
{
  if (Lba >= BLOCKS) {
    return EFI_INVALID_PARAMETER;
  }

  *BlockSize      = NOR_BLOCK_SIZE;
  *NumberOfBlocks = BLOCKS - (UINTN)Lba;
  return EFI_SUCCESS;
}

/// Returns the address of bytes of a block in Address. Shortens NumBytes to what the block has, with
/// EFI_BAD_BUFFER_SIZE.
STATIC
EFI_STATUS
Find (
  IN EFI_LBA     Lba,
  IN UINTN       Offset,
  IN OUT UINTN   *NumBytes,
  OUT UINTN      *Address
  )
{
  if ((Lba >= BLOCKS) || (Offset >= NOR_BLOCK_SIZE)) {
    return EFI_INVALID_PARAMETER;
  }

  *Address = BASE + (UINTN)Lba * NOR_BLOCK_SIZE + Offset;
  if (*NumBytes > NOR_BLOCK_SIZE - Offset) {
    *NumBytes = NOR_BLOCK_SIZE - Offset;
    return EFI_BAD_BUFFER_SIZE;
  }

  return EFI_SUCCESS;
}

STATIC
EFI_STATUS
EFIAPI
Read (
  IN CONST EFI_FIRMWARE_VOLUME_BLOCK_PROTOCOL  *This,
  IN EFI_LBA                                   Lba,
  IN UINTN                                     Offset,
  IN OUT UINTN                                 *NumBytes,
  IN OUT UINT8                                 *Buffer
  )
{
  EFI_STATUS  Status;
  UINTN       Address;

  Status = Find (Lba, Offset, NumBytes, &Address);
  if (Status != EFI_INVALID_PARAMETER) {
    CopyMem (Buffer, (VOID *)Address, *NumBytes);
  }

  return Status;
}

STATIC
EFI_STATUS
EFIAPI
Write (
  IN CONST EFI_FIRMWARE_VOLUME_BLOCK_PROTOCOL  *This,
  IN EFI_LBA                                   Lba,
  IN UINTN                                     Offset,
  IN OUT UINTN                                 *NumBytes,
  IN UINT8                                     *Buffer
  )
{
  EFI_STATUS  Status;
  EFI_STATUS  Programmed;
  UINTN       Address;

  Status = Find (Lba, Offset, NumBytes, &Address);
  if (Status == EFI_INVALID_PARAMETER) {
    return Status;
  }

  Programmed = NorProgram (Address, *NumBytes, Buffer);
  return EFI_ERROR (Programmed) ? Programmed : Status;
}

/// Erases the blocks of a list of pairs, number of a block and count, that EFI_LBA_LIST_TERMINATOR
/// ends. The whole list is checked first.
STATIC
EFI_STATUS
EFIAPI
EraseBlocks (
  IN CONST EFI_FIRMWARE_VOLUME_BLOCK_PROTOCOL  *This,
  ...
  )
{
  EFI_STATUS  Status;
  VA_LIST     List;
  EFI_LBA     Lba;
  UINTN       Count;

  VA_START (List, This);
  Status = EFI_SUCCESS;
  for (Lba = VA_ARG (List, EFI_LBA); Lba != EFI_LBA_LIST_TERMINATOR; Lba = VA_ARG (List, EFI_LBA)) {
    Count = VA_ARG (List, UINTN);
    if ((Lba >= BLOCKS) || (Count == 0) || (Count > BLOCKS - Lba)) {
      Status = EFI_INVALID_PARAMETER;
      break;
    }
  }

  VA_END (List);
  if (EFI_ERROR (Status)) {
    return Status;
  }

  VA_START (List, This);
  for (Lba = VA_ARG (List, EFI_LBA); Lba != EFI_LBA_LIST_TERMINATOR; Lba = VA_ARG (List, EFI_LBA)) {
    for (Count = VA_ARG (List, UINTN); !EFI_ERROR (Status) && Count > 0; Count--, Lba++) {
      Status = NorErase (BASE + (UINTN)Lba * NOR_BLOCK_SIZE);
    }
  }

  VA_END (List);
  return Status;
}

STATIC EFI_FIRMWARE_VOLUME_BLOCK_PROTOCOL  mProtocol = {
  .GetAttributes      = GetAttributes,
  .SetAttributes      = SetAttributes,
  .GetPhysicalAddress = GetPhysicalAddress,
  .GetBlockSize       = GetBlockSize,
  .Read               = Read,
  .Write              = Write,
  .EraseBlocks        = EraseBlocks,
};

EFI_STATUS
EFIAPI
NorFlashMmEntry (
  IN EFI_HANDLE           ImageHandle,
  IN EFI_MM_SYSTEM_TABLE  *MmSystemTable
  )
{
  EFI_STATUS  Status;
  EFI_HANDLE  Handle;

  Status = Prepare ();
  if (EFI_ERROR (Status)) {
    Say ("flash: it does not work, there are no variables\r\n");
    return Status;
  }

  Handle = NULL;
  return gMmst->MmInstallProtocolInterface (
                  &Handle,
                  &gEfiSmmFirmwareVolumeBlockProtocolGuid,
                  EFI_NATIVE_INTERFACE,
                  &mProtocol
                  );
}
