#!/bin/bash
#
# import.sh NAME < tree.tar
#	  Make the tree on stdin the newest commit of NAME.git and print that
#	  commit's full hash.
#
# A tree that is already the newest commit changes nothing.  Author, date and
# message are fixed: the same content gives the same hash on every machine, so
# that mirrors and layers made for it are found again.
set -euo pipefail

name=${1:?usage: import.sh NAME < tree.tar}
[[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || { echo "import.sh: not a repository name: $name" >&2; exit 2; }

repository=/srv/git/$name.git
tree_dir=$(mktemp -d)
trap 'rm -rf "$tree_dir"' EXIT
umask 022

tar -x -f - -C "$tree_dir" --no-same-owner
[ -d "$repository" ] || git init --quiet --bare "$repository"

export GIT_DIR=$repository GIT_WORK_TREE=$tree_dir GIT_INDEX_FILE=$tree_dir.index
export GIT_AUTHOR_NAME=UniDesk GIT_AUTHOR_EMAIL=unidesk@localhost GIT_AUTHOR_DATE='2026-01-01T00:00:00Z'
export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE

git add --all --force .
tree=$(git write-tree)
rm -f "$GIT_INDEX_FILE"

parents=()
if head=$(git rev-parse --quiet --verify refs/heads/main); then
	if [ "$(git rev-parse "$head^{tree}")" = "$tree" ]; then
		echo "$head"
		exit 0
	fi
	parents=(-p "$head")
fi
commit=$(git commit-tree "${parents[@]}" -m "Example $name" "$tree")
git update-ref refs/heads/main "$commit"
echo "$commit"
