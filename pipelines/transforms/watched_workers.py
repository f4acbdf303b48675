"""Worker processes of Beam's multi-process engine, whose death ends the job."""

import threading

from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.portability.local_job_service import SubprocessSdkWorker

_ASK_EVERY_S = 0.1


class WatchedWorker(worker_handlers.SubprocessSdkWorkerHandler):
    """A worker process of `--direct_running_mode=multi_processing` whose death ends the job.

    Beam learns of it from a transform that sends something back. The answer to one that only
    writes it awaits for ever.
    """

    killed_by = ""
    """How the last process that was killed ended; the runs of a process follow each other."""

    def start_worker(self) -> None:
        """Starts the process, and a thread that waits for its end."""
        self._closing = threading.Event()
        self._is_dead = False
        self.worker = SubprocessSdkWorker(
            self._worker_command_line, self.control_address, self.provision_info, self.worker_id
        )
        self.worker_thread = threading.Thread(target=self._run, name="beam-worker", daemon=True)
        self.worker_thread.start()

    def _run(self) -> None:
        try:
            self.worker.run()
        except RuntimeError as cause:
            self._is_dead, WatchedWorker.killed_by = True, str(cause)
            # Another bundle may still be given to the dead worker before the job has ended.
            while not self._closing.wait(_ASK_EVERY_S):
                for name, future in list(self.control_conn._futures_by_id.items()):
                    future.set(
                        beam_fn_api_pb2.InstructionResponse(instruction_id=name, error=str(cause))
                    )

    def close(self) -> None:
        """Ends the process; a dead one is only forgotten, because Beam waits for its last words."""
        self._closing.set()
        if self._is_dead:
            self.control_conn.push(worker_handlers.BeamFnControlServicer._DONE_MARKER)
        else:
            super().close()


worker_handlers.WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)(WatchedWorker)
