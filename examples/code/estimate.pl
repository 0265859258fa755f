#!/usr/bin/perl
#
# estimate.pl [--rounds N] [--points N]
#	  Estimate pi from random points, one round a second, and write the result.
#
# The points come from SEED, so that the same commit gives the same number on
# every machine.

use strict;
use warnings;

my %option = (rounds => 10, points => 1_500_000);
while (my $name = shift @ARGV)
{
	my $value = shift @ARGV // '';
	die "usage: estimate.pl [--rounds N] [--points N]\n"
	  unless $name =~ s/^--// and exists $option{$name} and $value =~ /^[1-9][0-9]{0,8}$/;
	$option{$name} = $value;
}

my $seed = $ENV{SEED} // '';
if ($seed !~ /^[0-9]{1,9}$/)
{
	print STDERR "SEED is not set to a number, taking 1\n";
	$seed = 1;
}
srand($seed);

$| = 1;
my $task = $ENV{UNIDESK_TASK_ID} // 'none';
print "estimating pi: $option{rounds} rounds of $option{points} points, seed $seed, task $task\n";

my ($inside, $points) = (0, 0);
my $start = time();
for my $round (1 .. $option{rounds})
{
	for (1 .. $option{points})
	{
		my ($x, $y) = (rand(), rand());
		$inside++ if $x * $x + $y * $y <= 1;
	}
	$points += $option{points};
	printf "round %d of %d: %d points, pi is about %.6f\n", $round, $option{rounds}, $points,
	  4 * $inside / $points;

	# A round a second is a speed at which people can read along.
	sleep(1) if time() < $start + $round;
}

my $pi = 4 * $inside / $points;
printf STDERR "off by %.6f\n", abs($pi - 4 * atan2(1, 1));

my $directory = $ENV{UNIDESK_OUTPUT} // '/output';
if (-d $directory)
{
	my $file = "$directory/result.json";
	open(my $out, '>', $file) or die "could not write $file: $!\n";
	printf $out "{\"pi\": %.8f, \"points\": %d, \"seed\": %d}\n", $pi, $points, $seed;
	close($out) or die "could not write $file: $!\n";
	print "wrote $file\n";
}
else
{
	print STDERR "there is no $directory here: the result is printed only\n";
}
