"""The overload harness: the real platform under more than it can do, beside plainer ways.

trace       who asks for what and when, drawn from a seed
provider    a model provider and a second dependency, told how to behave over HTTP
programs    the agents that are asked for
policies    ours, and the plainer ways it is compared with
front, worker    the real API and worker, with a policy's changes made from outside
platform    the processes of one run, on a database of its own
crowd       clients that ask by the trace and hear what they are answered
history     what a run has left behind: every ask with its fate, every call on the wire
tally       figures from histories
scenes      overload, outage, slow, comeback
drawing, report    a picture, tables and JSON
"""
