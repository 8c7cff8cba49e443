"""One run: parameters in, a record out.

settings     what an experiment is asked to do (identity) and how (execution)
parameters   what a notebook was given, checked
experiment   load, build, train, measure, write
records      results on disk; provenance says where from, stale which are outdated
states       weights and unfinished trainings on disk
parallel     one training in several processes; jobs starts them, worker is one of them
guard        no process outlives the one that started it
tables       what notebooks show of records
"""
