"""The kernels in which the notebooks are tested."""

from __future__ import annotations

import gc
import os
import runpy
import socket
import sys
from pathlib import Path
from typing import Any

import nbval.kernel
import pytest
import unigen_book


@pytest.mark.skipif(sys.platform == "win32", reason="sockets in a folder are Unix's")
def test_no_other_process_can_take_a_port_from_a_kernel_that_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The file replaces these two; afterwards they are what they were.
    monkeypatch.setattr(nbval.kernel, "KernelManager", nbval.kernel.KernelManager)
    running = nbval.kernel.RunningKernel
    monkeypatch.setattr(running, "execute_cell_input", running.execute_cell_input)
    runpy.run_path(str(unigen_book.ROOT / "book" / "conftest.py"))
    taken: list[socket.socket] = []

    class Unlucky(nbval.kernel.KernelManager):  # type: ignore[misc]
        """Between the choice of the ports and the start of the kernel, somebody binds one."""

        async def _async_launch_kernel(self, *command: Any, **options: Any) -> None:
            if self.transport == "tcp":
                taken.append(socket.create_server(("127.0.0.1", self.shell_port)))
            await super()._async_launch_kernel(*command, **options)

    monkeypatch.setattr(nbval.kernel, "KernelManager", Unlucky)
    try:
        manager, client = nbval.kernel.start_new_kernel(
            kernel_name=nbval.kernel.CURRENT_ENV_KERNEL_NAME
        )
    finally:
        for sock in taken:
            sock.close()
    folder = Path(manager.ip).parent
    try:
        assert len(os.listdir(folder)) == 5  # shell, iopub, stdin, heartbeat, control
        client.execute("6 * 7", reply=True, timeout=60)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    del manager, client
    gc.collect()
    assert not folder.exists()
