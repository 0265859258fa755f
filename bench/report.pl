#!/usr/bin/env perl
#
# report.pl RUN RESULT DOCUMENT
#	  From what bench/run.sh has left in the directory RUN (STEP.ROUND.out,
#	  notes.tsv, machine.json) the result as JSON, and the tables in the document,
#	  which are printed too.
#
use strict;
use warnings;
use utf8;
use FindBin;
use lib $FindBin::Bin;
use Figures;
use JSON::PP;

binmode STDOUT, ':encoding(UTF-8)';
binmode STDERR, ':encoding(UTF-8)';

sub contents
{
	my ($file) = @_;
	open(my $in, '<:encoding(UTF-8)', $file) or die "$file: $!\n";
	local $/;
	return scalar <$in>;
}

# Either the whole new file, or the old one.
sub replace
{
	my ($file, $text) = @_;
	open(my $out, '>:encoding(UTF-8)', "$file.new") or die "$file.new: $!\n";
	print $out $text;
	close $out or die "$file.new: $!\n";
	rename "$file.new", $file or die "$file: $!\n";
}

my ($run, $result, $document) = @ARGV;
die "usage: report.pl RUN RESULT DOCUMENT\n" if @ARGV != 3;

my @goals = Figures::read_table("$FindBin::Bin/goals.tsv", qw(name direction goal floor figure peer what));
my $machine = JSON::PP->new->decode(contents("$run/machine.json"));

my @lines;
for my $file (sort glob "$run/*.out")
{
	my ($round) = $file =~ /\.(\d+)\.out$/ or next;
	push @lines, map { [ $round, $_ ] } grep { /\S/ } split /\n/, contents($file);
}
my $figures = Figures::collect(\@lines, sub { print STDERR "not a figure: $_[0]\n" });

# The last word on each step; a step that worked in another round needs none.
my (%why, %worked);
for my $note (Figures::read_table("$run/notes.tsv", qw(step round state reason)))
{
	$worked{ $note->{step} } = 1 if $note->{state} eq 'ok';
	$why{ $note->{step} } = "$note->{state}: $note->{reason}" if $note->{state} ne 'ok';
}
my %notes = map { $_ => $why{$_} } grep { !$worked{$_} } keys %why;
$notes{"$_ (some rounds)"} = $why{$_} for grep { $worked{$_} } keys %why;

my @judged = Figures::judge(\@goals, $figures, \%why);
for my $row (@judged)
{
	for my $side ([ 'figure', 'ours' ], [ 'peer', 'theirs' ])
	{
		my $figure = $figures->{ $row->{ $side->[0] } } or next;
		$row->{ $side->[1] } = Figures::shown($figure->{value}) . " $figure->{unit}";
	}
}

my %by_verdict = (goal => 0, floor => 0, missed => 0);
$by_verdict{ $_->{verdict} }++ for grep { defined $_->{value} } @judged;
my $measured = grep { defined $_->{value} } @judged;
my $summary = sprintf('Of %d ratios %d were measured: %d reach their goal, %d miss the goal and hold the floor, %d miss the floor. %d lose against a peer.',
	scalar @judged, $measured, @by_verdict{qw(goal floor missed)}, scalar grep { $_->{loses} } @judged);
my $where = sprintf('A %s run of %s, %d CPUs (%s), %s, Linux %s, PostgreSQL %s, load %s before it.',
	@{$machine}{qw(mode date cpus model memory kernel postgres load)});

my $tables = join("\n", '', $where, '', $summary, '', Figures::ratio_table(@judged), '');
my @missing = Figures::missing_table(\@judged, \%notes);
$tables .= join("\n", '', @missing, '') if @missing;
$tables .= join("\n", '', 'All figures of the run:', '', Figures::figure_table($figures), '');

replace($document, Figures::between(contents($document), $tables));
replace($result, JSON::PP->new->canonical->pretty->encode({
	machine => $machine,
	ratios => { map { $_->{name} => 0 + sprintf('%.4g', $_->{value}) } grep { defined $_->{value} } @judged },
	verdicts => { map { $_->{name} => $_->{verdict} } grep { defined $_->{value} } @judged },
	not_measured => { map { $_->{name} => $_->{reason} } grep { !defined $_->{value} } @judged },
	figures => {
		map {
			my $figure = $figures->{$_};
			$_ => { value => $figure->{value}, unit => $figure->{unit},
				rounds => [ map { $figure->{by_round}{$_} } sort { $a <=> $b } keys %{ $figure->{by_round} } ] }
		} keys %$figures
	},
}));
print "$tables\n";
