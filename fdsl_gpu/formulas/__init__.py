"""One file per formula: from (label, instance) to the records of ``fdsl_gpu.records``. Nothing here knows pixels."""
