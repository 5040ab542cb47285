@echo -off
# The script of UEFI's shell: one variable for Linux to find, and one that is removed again.
setvar Shell -guid 5c0e1b6c-3d5f-4b3e-9a77-0f6f1d2c8e94 -nv -bs -rt =L"from the shell"
dmpstore Shell -guid 5c0e1b6c-3d5f-4b3e-9a77-0f6f1d2c8e94
setvar Gone -guid 5c0e1b6c-3d5f-4b3e-9a77-0f6f1d2c8e94 -nv -bs -rt =2a00
dmpstore Gone -guid 5c0e1b6c-3d5f-4b3e-9a77-0f6f1d2c8e94
setvar Gone -guid 5c0e1b6c-3d5f-4b3e-9a77-0f6f1d2c8e94 =
setvar Gone -guid 5c0e1b6c-3d5f-4b3e-9a77-0f6f1d2c8e94
echo "demo: end"
reset -s
