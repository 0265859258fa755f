#!/usr/bin/env perl
#
# figures.t
#	  The arithmetic and the tables of the bench.
#
use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::Bin/..";
use Test::More;
use Figures;

sub goal
{
	my %goal = (name => 'r', direction => '>=', goal => 1, floor => 0.5, figure => 'ours@us', peer => 'theirs@them', what => 'speed', @_);
	return \%goal;
}

sub collected
{
	my (@lines) = @_;
	my @bad;
	my $figures = Figures::collect([@lines], sub { push @bad, @_ });
	return ($figures, @bad);
}

sub line { return sprintf '{"name":"%s","value":%s,"unit":"%s"}', @_; }

# ---- medians ----
is(Figures::median(), undef, 'no values have no median');
is(Figures::median(7), 7, 'the median of one value');
is(Figures::median(10, 9, 100), 10, 'the middle by size, not by text nor place');
is(Figures::median(4, 1, 3, 2), 2.5, 'between the two in the middle');

# ---- lines ----
is_deeply(Figures::parse(line('a_1', '1.5e3', 's')), { name => 'a_1', value => 1500, unit => 's' }, 'a figure is read');
for my $bad ('', 'text', '[1]', '{"name":"a"}', line('a', '"x"', 's'), line('a', 'null', 's'), line('a', '[1]', 's'),
	line('A b', '1', 's'), '{"name":"a","value":1}', line('a', 'NaN', 's'), '{"name":"a","value":1,"unit":"s"')
{
	is(Figures::parse($bad), undef, "no figure: $bad");
}

# ---- rounds ----
my ($figures, @bad) = collected([ 1, line('ours', 10, 'n/s') ], [ 2, line('ours', 40, 'n/s') ], [ 3, line('ours', 20, 'n/s') ],
	[ 1, line('theirs', 10, 'n/s') ], [ 2, line('theirs', 20, 'n/s') ], [ 3, 'nonsense' ], [ 2, line('ours', 60, 'n/s') ]);
is_deeply(\@bad, ['nonsense'], 'what is no figure is told');
is($figures->{ours}{by_round}{2}, 50, 'several values of one round are one');
is($figures->{ours}{value}, 20, 'a figure is the median of its rounds');
my ($row) = Figures::judge([ goal() ], $figures, {});
is_deeply($row->{rounds}, [ 1, 2.5 ], 'ratios are of rounds that have both');
is($row->{value}, 1.75, 'the median of the ratios, not the ratio of the medians');
is_deeply([ Figures::ratios({ figure => 'ours', peer => '-' }, $figures) ], [ 10, 50, 20 ], 'without a peer the figure is the ratio');
($figures) = collected([ 1, line('ours', 10, '') ], [ 1, line('theirs', 0, '') ]);
($row) = Figures::judge([ goal() ], $figures, {});
is($row->{reason}, 'no round has both figures', 'nothing is divided by nothing');

# ---- verdicts ----
is(Figures::verdict(goal(), 1), 'goal', 'more is better: the goal itself reaches it');
is(Figures::verdict(goal(), 0.99), 'floor', 'more is better: below the goal');
is(Figures::verdict(goal(), 0.5), 'floor', 'more is better: the floor itself holds');
is(Figures::verdict(goal(), 0.49), 'missed', 'more is better: below the floor');
my %less = (direction => '<=', goal => 1, floor => 1.5);
is(Figures::verdict(goal(%less), 1), 'goal', 'less is better: the goal itself reaches it');
is(Figures::verdict(goal(%less), 1.01), 'floor', 'less is better: above the goal');
is(Figures::verdict(goal(%less), 1.51), 'missed', 'less is better: above the floor');
ok(!eval { Figures::verdict(goal(direction => '>'), 1); 1 }, 'an unknown direction is refused');
is(Figures::loses(goal(goal => 0.5), 0.9) ? 1 : 0, 1, 'slower than the peer loses, whatever the goal');
is(Figures::loses(goal(), 1) ? 1 : 0, 0, 'as fast as the peer does not lose');
is(Figures::loses(goal(%less), 1.2) ? 1 : 0, 1, 'dearer than the peer loses');
is(Figures::loses(goal(peer => '-'), 0.1) ? 1 : 0, 0, 'without a peer nothing loses');

# ---- what is missing ----
($figures) = collected([ 1, line('ours', 10, 's') ]);
($row) = Figures::judge([ goal() ], $figures, { them => 'skipped: no network' });
is($row->{reason}, 'them: skipped: no network', 'what is missing says which step and why');
($row) = Figures::judge([ goal() ], $figures, {});
is($row->{reason}, 'them: did not print theirs', 'a step that works but says another name is found out');
($row) = Figures::judge([ goal() ], {}, { us => 'failed: x', them => 'failed: y' });
is($row->{reason}, 'us: failed: x; them: failed: y', 'both sides are told');

# ---- tables ----
($figures) = collected([ 1, line('ours', 1, 's') ], [ 1, line('theirs', 4, 's') ]);
my @judged = Figures::judge([ goal(), goal(name => 'other', figure => 'none@us') ], $figures, { us => 'failed: z' });
my $table = join "\n", Figures::ratio_table(@judged);
like($table, qr/`r` \| \*\*0\.25\*\* .*\*\*FLOOR MISSED\*\*, \*\*loses\*\*/, 'a missed floor and a loss are marked');
unlike($table, qr/other/, 'what was not measured is not among the ratios');
like(join("\n", Figures::missing_table(\@judged, {})), qr/`other` \| us: failed: z/, 'but among what was not');
is_deeply([ Figures::missing_table([ $judged[0] ], {}) ], [], 'no table where nothing is missing');
is_deeply([ map { Figures::shown($_) } 0, 12345.6, 12.345, 1.2345, 0.0012345 ], [ '0', '12346', '12.3', '1.23', '0.0012' ], 'three digits');
my $text = "a\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nb\n";
is(Figures::between($text, 'new'), "a\n<!-- figures: begin -->\nnew\n<!-- figures: end -->\nb\n", 'only what is between the markers changes');
ok(!eval { Figures::between('no markers', 'new'); 1 }, 'a document without markers is refused');

# ---- the project's own tables ----
my %steps = map { $_->{step} => 1 } Figures::read_table("$FindBin::Bin/../suite.tsv", qw(step mode rounds seconds command));
my %names;
for my $goal (Figures::read_table("$FindBin::Bin/../goals.tsv", qw(name direction goal floor figure peer what)))
{
	my $known = !grep { $_ ne '-' && !(/^[a-z0-9_]+@(\w+)$/ && $steps{$1}) } @{$goal}{qw(figure peer)};
	ok(!$names{ $goal->{name} }++ && $known, "$goal->{name}: is there once, by steps that there are");
	is(Figures::verdict($goal, $goal->{floor}), $goal->{goal} == $goal->{floor} ? 'goal' : 'floor', "$goal->{name}: its floor is easier than its goal");
}
done_testing();
