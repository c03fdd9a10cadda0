"""A fuzzer of the readers: small files, damaged in every way, each read within seconds or refused by ttprof's error."""
