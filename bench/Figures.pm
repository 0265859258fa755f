#
# Figures.pm
#	  The arithmetic of the bench: figures of rounds, ratios of each round and
#	  their medians, what they are worth against goals and floors, and the tables
#	  in which people read that.
#
package Figures;

use strict;
use warnings;
use utf8;
use JSON::PP;
use List::Util qw(max min);

# read_table(FILE, COLUMN...): tab-separated lines as hashes, without comments.
sub read_table
{
	my ($file, @columns) = @_;
	my @rows;

	open(my $in, '<:encoding(UTF-8)', $file) or die "$file: $!\n";
	while (my $line = <$in>)
	{
		chomp $line;
		next if $line =~ /^\s*(#|$)/;
		my @fields = split /\t+/, $line, scalar @columns;
		die "$file:$.: " . @fields . ' columns, wanted ' . @columns . ": $line\n" if @fields != @columns;
		my %row;
		@row{@columns} = @fields;
		push @rows, \%row;
	}
	return @rows;
}

# parse(LINE): a figure, or undef for what is none.
sub parse
{
	my ($line) = @_;
	my $figure = eval { decode_json($line) };

	return undef if ref $figure ne 'HASH';
	my ($name, $value, $unit) = @{$figure}{qw(name value unit)};
	return undef if !defined $name || ref $name || $name !~ /^[a-z][a-z0-9_]*$/;
	return undef if !defined $value || ref $value || $value !~ /^-?\d+(\.\d+)?([eE][-+]?\d+)?$/;
	return undef if !defined $unit || ref $unit;
	return { name => $name, value => $value + 0, unit => $unit };
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;

	return undef if !@sorted;
	return $sorted[$#sorted / 2] if @sorted % 2;
	return ($sorted[@sorted / 2 - 1] + $sorted[@sorted / 2]) / 2;
}

# collect([ROUND, LINE]...): by name, the unit and a value for each round.  Of a
# figure that one round has several times, their median; what cannot be read is
# handed to the callback.
sub collect
{
	my ($lines, $unreadable) = @_;
	my %figures;

	for my $pair (@$lines)
	{
		my ($round, $line) = @$pair;
		my $figure = parse($line);
		if (!$figure)
		{
			$unreadable->($line);
			next;
		}
		my $known = $figures{ $figure->{name} } //= { unit => $figure->{unit}, all => {} };
		push @{ $known->{all}{$round} }, $figure->{value};
	}
	for my $figure (values %figures)
	{
		my $all = delete $figure->{all};
		$figure->{by_round} = { map { $_ => median(@{ $all->{$_} }) } keys %$all };
		$figure->{value} = median(values %{ $figure->{by_round} });
	}
	return \%figures;
}

# ratios(GOAL, FIGURES): of each round that has both, ours by the peer's.  Where
# there is no peer ("-"), our figure itself.
sub ratios
{
	my ($goal, $figures) = @_;
	my $ours = $figures->{ $goal->{figure} } or return;
	my $by_round = $ours->{by_round};

	return map { $by_round->{$_} } sort { $a <=> $b } keys %$by_round if $goal->{peer} eq '-';
	my $theirs = $figures->{ $goal->{peer} } or return;
	return map { $by_round->{$_} / $theirs->{by_round}{$_} }
	  grep { $theirs->{by_round}{$_} } sort { $a <=> $b } keys %$by_round;
}

# verdict(GOAL, VALUE): goal, floor (the goal is missed, the floor holds) or
# missed.
sub verdict
{
	my ($goal, $value) = @_;
	my $reaches = sub {
		return $goal->{direction} eq '>=' ? $value >= $_[0] : $value <= $_[0];
	};

	die "$goal->{name}: the direction is >= or <=, not $goal->{direction}\n" if $goal->{direction} !~ /^[<>]=$/;
	return $reaches->($goal->{goal}) ? 'goal' : $reaches->($goal->{floor}) ? 'floor' : 'missed';
}

# loses(GOAL, VALUE): a peer is better at it.
sub loses
{
	my ($goal, $value) = @_;

	return 0 if $goal->{peer} eq '-';
	return $goal->{direction} eq '>=' ? $value < 1 : $value > 1;
}

# shown(NUMBER): three digits that count.
sub shown
{
	my ($value) = @_;

	return '-' if !defined $value;
	return '0' if $value == 0;
	my $size = abs $value;
	return sprintf('%.0f', $value) if $size >= 100;
	return sprintf('%.1f', $value) if $size >= 10;
	return sprintf('%.2f', $value) if $size >= 0.1;
	return sprintf('%.2g', $value);
}

# judge(GOALS, FIGURES, WHY): each goal with its value, verdict, or the reason why
# there is none; WHY maps a step to what became of it.
sub judge
{
	my ($goals, $figures, $why) = @_;
	my @judged;

	for my $goal (@$goals)
	{
		my %row = %$goal;
		my @rounds;
		for my $side (qw(figure peer))
		{
			# NAME@STEP: the measurement that prints it.
			($row{$side}, $row{"${side}_step"}) = split /@/, $goal->{$side};
		}
		@rounds = ratios(\%row, $figures);
		if (@rounds)
		{
			$row{rounds} = \@rounds;
			$row{value} = median(@rounds);
			$row{verdict} = verdict(\%row, $row{value});
			$row{loses} = loses(\%row, $row{value});
		}
		else
		{
			my @reasons;
			for my $side (qw(figure peer))
			{
				my $step = $row{"${side}_step"};
				next if $row{$side} eq '-' || $figures->{ $row{$side} };
				push @reasons, "$step: " . ($why->{$step} // "did not print $row{$side}");
			}
			push @reasons, 'no round has both figures' if !@reasons;
			$row{reason} = join('; ', @reasons);
		}
		push @judged, \%row;
	}
	return @judged;
}

my %marks = (goal => 'goal reached', floor => 'goal missed, floor holds', missed => '**FLOOR MISSED**');

sub ratio_table
{
	my (@judged) = @_;
	my @lines = ('| what | ratio | measured | rounds | goal | floor | ours | peer | |', '|---|---|---|---|---|---|---|---|---|');

	for my $row (grep { defined $_->{value} } @judged)
	{
		my ($low, $high) = (min(@{ $row->{rounds} }), max(@{ $row->{rounds} }));
		my $mark = $marks{ $row->{verdict} };
		$mark .= ', **loses**' if $row->{loses};
		push @lines, sprintf('| %s | `%s` | **%s** | %d: %s to %s | %s %s | %s | %s | %s | %s |',
			$row->{what}, $row->{name}, shown($row->{value}), scalar @{ $row->{rounds} }, shown($low), shown($high),
			$row->{direction} eq '>=' ? '≥' : '≤', $row->{goal}, $row->{floor}, $row->{ours} // '-', $row->{theirs} // '-', $mark);
	}
	return @lines;
}

sub figure_table
{
	my ($figures) = @_;
	my @lines = ('| figure | median | lowest | highest | unit | rounds |', '|---|---|---|---|---|---|');

	for my $name (sort keys %$figures)
	{
		my $figure = $figures->{$name};
		my @values = values %{ $figure->{by_round} };
		push @lines, sprintf('| `%s` | %s | %s | %s | %s | %d |', $name, shown($figure->{value}),
			shown(min(@values)), shown(max(@values)), $figure->{unit}, scalar @values);
	}
	return @lines;
}

# missing_table(JUDGED, NOTES): what was not measured and why; nothing when all was.
sub missing_table
{
	my ($judged, $notes) = @_;
	my @lines = map { "| `$_->{name}` | $_->{reason} |" } grep { !defined $_->{value} } @$judged;

	push @lines, map { "| $_ | $notes->{$_} |" } sort keys %$notes;
	return @lines ? ('| not measured | why |', '|---|---|', @lines) : ();
}

# between(TEXT, NEW): the text with what stands between its two markers replaced.
sub between
{
	my ($text, $new) = @_;
	my ($begin, $end) = ('<!-- figures: begin -->', '<!-- figures: end -->');

	$text =~ s/\Q$begin\E.*?\Q$end\E/$begin\n$new\n$end/s or die "the lines $begin and $end are missing\n";
	return $text;
}

1;
