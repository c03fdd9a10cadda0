"""The TTPROF tab of TensorBoard and the front end of the HTML report: turns results and traces into JSON documents."""
