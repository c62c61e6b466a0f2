"""Reads runs and writes what a user takes from them; knows neither TensorFlow nor Ray.

commands    what run_search.py can be told: commands and options
command_help  what their --help says besides
completion  the same for a shell: what the tab key completes
as_json     what commands have to say, as JSON
files       files that appear whole or not at all
frame       a ledger as tables: trials, networks, fronts
volume      hypervolume of a search over its running time
resampling  test accuracies of re-evaluated networks, seeds and test clips drawn again
comparison  searched networks against the published ones or other runs, with intervals
comparison_text  the same as text
figure_style  one look for all pictures: sizes, type, colours, files
plots       the frontier and hypervolume pictures
family      from a front to A0-A6, with the record of every decision
beside_published  a family beside the published networks
coefficients  what a search for compound-scaling coefficients tried and chose
refinement  the configuration of a search around one model of the family
experiment  a network as an experiment of the release's trainer
emit        the family as files
outcome     all of it at the end of a run
report      a run as one HTML page that needs nothing else; page/ has its form, style and script
report_data      what its script draws, in columns
report_sections  its tables and words; report_reliability, report_family and report_record have more
markup      HTML and JSON from data that nobody vouches for
measures    what an architecture has chosen, as numbers
variance_components  variance between architectures beyond cost, and between seeds
trainings   statistics of all trainings of an event log or a table, side by side
reliability  reliability of each statistic, and which one to search by
importance  which choices matter beyond what they cost: analysis of variance
describe    one network: layers and costs
rank_correlation  Kendall's tau, partial tau, regret of the first choices
statistics  bootstrap intervals
proxy_ranking  how well cheap measurements rank networks
reliability_report  reliability, ranking and importance as text, JSON, CSV and figure
reproduction      whether a network trained again does what was recorded
arena       search algorithms compared on a table: scores, intervals
arena_text  the same as text
arena_plots hypervolume against evaluations and time
arena_outcome  all files of a comparison
race        search algorithms compared in real training
tabulation  a run as a benchmark table
evaluation_plots  pictures of what movinet.evaluate wrote
stream_plots      pictures of one stream, frame by frame
"""
