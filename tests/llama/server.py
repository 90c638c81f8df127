"""Runs llama.cpp's own server, for the Python of the llama environment: ``server.py MODEL PORT PARAMETERS``.

PARAMETERS is a JSON object of ``xllamacpp.CommonParams`` fields. The server ends with the process.
"""

import json
import sys
import threading

import xllamacpp


def main() -> None:
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.port = int(sys.argv[2])
    # One thread for each server: llama.cpp's threads wait for one another by spinning, so that on a machine
    # with fewer free cores than threads a token takes a hundred times as long.
    params.cpuparams.n_threads = 1
    for name, value in json.loads(sys.argv[3]).items():
        setattr(params, name, value)
    server = xllamacpp.Server(params)
    print("listening at", server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
