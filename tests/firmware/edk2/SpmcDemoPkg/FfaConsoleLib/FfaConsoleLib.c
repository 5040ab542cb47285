/** @file
  A serial port that sends characters to the console of the SPMC by FFA_CONSOLE_LOG (FF-A 1.2,
  13.14). The SPMC prints whole lines, with the name of the partition. There is nothing to read.
**/

#include <Uefi/UefiBaseType.h>
#include <IndustryStandard/ArmFfaSvc.h>
#include <Library/ArmSvcLib.h>
#include <Library/BaseMemoryLib.h>
#include <Library/SerialPortLib.h>

#define FFA_CONSOLE_LOG_64  0xC400008A

/// Characters in x2 to x7.
#define CHARACTERS  (6 * sizeof (UINT64))

RETURN_STATUS
EFIAPI
SerialPortInitialize (
  VOID
  )
{
  return RETURN_SUCCESS;
}

UINTN
EFIAPI
SerialPortWrite (
  IN UINT8  *Buffer,
  IN UINTN  NumberOfBytes
  )
{
  ARM_SVC_ARGS  Args;
  UINTN         Sent;
  UINTN         Count;

  if (Buffer == NULL) {
    return 0;
  }

  for (Sent = 0; Sent < NumberOfBytes; Sent += Count) {
    Count = MIN (NumberOfBytes - Sent, CHARACTERS);
    ZeroMem (&Args, sizeof (Args));
    CopyMem (&Args.Arg2, Buffer + Sent, Count);
    Args.Arg0 = FFA_CONSOLE_LOG_64;
    Args.Arg1 = Count;
    ArmCallSvc (&Args);
    if ((UINT32)Args.Arg0 == ARM_FID_FFA_ERROR) {
      break;
    }
  }

  return Sent;
}

UINTN
EFIAPI
SerialPortRead (
  OUT UINT8  *Buffer,
  IN  UINTN  NumberOfBytes
  )
{
  return 0;
}

BOOLEAN
EFIAPI
SerialPortPoll (
  VOID
  )
{
  return FALSE;
}

RETURN_STATUS
EFIAPI
SerialPortSetControl (
  IN UINT32  Control
  )
{
  return RETURN_UNSUPPORTED;
}

RETURN_STATUS
EFIAPI
SerialPortGetControl (
  OUT UINT32  *Control
  )
{
  return RETURN_UNSUPPORTED;
}

RETURN_STATUS
EFIAPI
SerialPortSetAttributes (
  IN OUT UINT64              *BaudRate,
  IN OUT UINT32              *ReceiveFifoDepth,
  IN OUT UINT32              *Timeout,
  IN OUT EFI_PARITY_TYPE     *Parity,
  IN OUT UINT8               *DataBits,
  IN OUT EFI_STOP_BITS_TYPE  *StopBits
  )
{
  return RETURN_UNSUPPORTED;
}
