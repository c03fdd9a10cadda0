"""The TTPROF tab of TensorBoard and the front end of the HTML report: results become JSON documents for plain JS."""
