# Draws one plot of growth: `data` names the file of figures, `columns` counts its columns, `image` is the PNG.
set terminal pngcairo size 800,480 font "sans,11"
set output image
set datafile separator tab
set logscale xy
set format x "%.0s%c"
set format y "%.0s %cs"
set grid
set key top left autotitle columnhead
set xlabel system("head -n 1 " . data . " | cut -f 1 | tr -d '\"'")
plot for [column = 2:columns] data using 1:column with linespoints linewidth 2 pointtype 7
